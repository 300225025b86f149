//! What is allowed in a configuration and can hardly be meant: told by `ringress check`, and refused by its `--strict`.

use std::collections::{HashMap, HashSet};

use crate::config::problem::Problem;
use crate::config::routes::RouteSpec;
use crate::config::source::Source;
use crate::filter::Filter;
use crate::filter::context::{Answer, Context, Notes, Verdict};
use crate::proto::h1::authority::host_length;
use crate::proto::h1::request::RequestHead;
use crate::snapshot::{Entrance, Snapshot};
use crate::units::EndpointAddress;

use super::compile::Resolved;

/// Redirects that are followed when it is asked whether they go round.
const HOPS_MAX: usize = 5;

/// Everything that can hardly be meant. `resolved` is what names resolved to; `None` where they were not asked for.
#[must_use]
pub fn advice(source: &Source, snapshot: &Snapshot, resolved: Option<&Resolved>) -> Vec<Problem> {
    let mut told = Vec::new();
    let mut tell = |key: &str, what: String, remedy: &str| told.push(source.problem(key, what, remedy));
    unused_services(source, &mut tell);
    unreachable_routes(source, &mut tell);
    redirects(source, snapshot, &mut tell);
    certificates(source, snapshot, &mut tell);
    open_admin(source, &mut tell);
    if let Some(resolved) = resolved {
        names(source, resolved, &mut tell);
    }
    told.sort_by_key(|problem| problem.place.line_and_column());
    told
}

/// Takes a key, what is odd about it, and what to do.
type Tell<'a> = dyn FnMut(&str, String, &str) + 'a;

fn unused_services(source: &Source, tell: &mut Tell<'_>) {
    let named = source.config.routes.iter().flat_map(|route| route.services()).map(|(_, name)| name.as_str());
    let asked = source.config.filter_lists().flatten().flat_map(Filter::services);
    let used: HashSet<&str> = named.chain(asked).collect();
    for name in source.config.services.keys().filter(|name| !used.contains(name.as_str())) {
        tell(&format!("services.{name}"), "no route leads to it".to_owned(), "name it in a route, or leave it out");
    }
}

/// Routes whose every condition another one has, which goes first.
fn unreachable_routes(source: &Source, tell: &mut Tell<'_>) {
    let mut taken: HashMap<String, &str> = HashMap::new();
    // The one of a higher priority goes first, of others the one that is written first.
    let mut order: Vec<_> = source.config.routes.iter().enumerate().collect();
    order.sort_by_key(|(_, route)| std::cmp::Reverse(route.priority));
    for (at, route) in order {
        let conditions = conditions(route, source);
        let others: HashSet<_> = conditions.iter().map(|condition| taken.get(condition)).collect();
        if let (1, Some(Some(other))) = (others.len(), others.iter().next()) {
            let what = format!(
                "`{}` is never reached: the route `{other}` has the same conditions and goes first",
                route.name
            );
            tell(&format!("routes.{at}"), what, "leave one of them out, or give them different conditions");
        }
        for condition in conditions {
            taken.entry(condition).or_insert(&route.name);
        }
    }
}

/// Every single case in which a route is taken, each as one text.
fn conditions(route: &RouteSpec, source: &Source) -> Vec<String> {
    let any = |list: &[String], of_any: &str| if list.is_empty() { vec![of_any.to_owned()] } else { list.to_vec() };
    let json = |value: serde_json::Result<String>| value.unwrap_or_default();
    let all: Vec<_> = source.config.listeners.keys().cloned().collect();
    let listeners = if route.listeners.is_empty() { all } else { route.listeners.clone() };
    let paths: Vec<_> = if route.paths.is_empty() {
        vec!["{\"prefix\":\"/\"}".to_owned()]
    } else {
        route.paths.iter().map(|path| json(serde_json::to_string(path))).collect()
    };
    let rest = json(serde_json::to_string(&(&route.headers, &route.query)));
    let mut cases = Vec::new();
    for listener in &listeners {
        for host in any(&route.hosts, "*") {
            for path in &paths {
                for method in any(&route.methods, "any") {
                    cases.push(format!("{listener} {} {path} {method} {rest}", host.to_ascii_lowercase()));
                }
            }
        }
    }
    cases
}

/// Redirects that go round, and those that have nothing to do on a listener and nothing behind them.
fn redirects(source: &Source, snapshot: &Snapshot, tell: &mut Tell<'_>) {
    for (at, route) in source.config.routes.iter().enumerate() {
        let Some(filter) = route.filters.iter().position(|filter| matches!(filter, Filter::Redirect(_))) else {
            continue;
        };
        let of_route = |entrance: &&Entrance| entrance.table.routes.iter().any(|known| *known.name == *route.name);
        for entrance in snapshot.listeners.iter().filter(of_route) {
            let scheme = if entrance.listener.tls.is_some() { "https" } else { "http" };
            let host = route.hosts.first().map_or("example.test", |host| host.trim_start_matches("*.")).to_owned();
            let host = if host == "*" { "example.test".to_owned() } else { host };
            let start = format!("{scheme}://{host}{}", sample_path(route));
            let key = format!("routes.{at}.filters.{filter}");
            match follow(snapshot, &start, &route.name) {
                Way::Round(seen) => {
                    let what = format!("the redirect goes round: {}", seen.join(" → "));
                    return tell(&key, what, "leave one of these redirects out");
                }
                Way::Nowhere => {
                    let listener = &entrance.listener.name;
                    let what =
                        format!("on the listener `{listener}` requests are where it leads already, and go nowhere");
                    tell(&key, what, "name the `listeners` of the route, or give it a service");
                }
                Way::Elsewhere => {}
            }
        }
    }
}

fn sample_path(route: &RouteSpec) -> String {
    use crate::config::routes::PathMatch;
    match route.paths.first() {
        Some(PathMatch::Exact(path) | PathMatch::Prefix(path) | PathMatch::StartsWith(path)) => path.clone(),
        Some(PathMatch::Regex(_)) | None => "/".to_owned(),
    }
}

/// Where redirects lead.
enum Way {
    /// Back to a URL that was asked for.
    Round(Vec<String>),
    /// The first is none on this way, and there is nothing behind it.
    Nowhere,
    /// To where no redirect follows.
    Elsewhere,
}

/// Follows redirects from a URL, which the route `first` is to take.
fn follow(snapshot: &Snapshot, start: &str, first: &str) -> Way {
    let mut seen = vec![start.to_owned()];
    for hop in 0..HOPS_MAX {
        let Some((scheme, rest)) = seen.last().and_then(|url| url.split_once("://")) else { return Way::Elsewhere };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let is_secure = scheme == "https";
        let Some(entrance) = snapshot.listeners.iter().find(|one| one.listener.tls.is_some() == is_secure) else {
            return Way::Elsewhere;
        };
        let mut head = RequestHead::default();
        let path = if path.is_empty() { "/" } else { path };
        let text = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        if head.parse(text.into_bytes(), entrance.listener.spec.head_rules()).is_err() {
            return Way::Elsewhere;
        }
        let Some(route) = entrance.table.find(&head).filter(|route| hop > 0 || *route.name == *first) else {
            return Way::Elsewhere;
        };
        let scheme = if is_secure { "https" } else { "http" };
        let port = entrance.listener.port;
        let context = Context { route: &route.name, port, ..Context::of_nobody(scheme) };
        match route.chain.on_request(&mut head, &context, &mut Notes::default()) {
            Verdict::Answer(Answer { fields, .. }) => {
                let location = fields.iter().find(|(name, _)| *name == b"Location");
                let Some((_, location)) = location else { return Way::Elsewhere };
                let location = String::from_utf8_lossy(location).into_owned();
                if seen.contains(&location) {
                    seen.push(location);
                    return Way::Round(seen);
                }
                seen.push(location);
            }
            Verdict::Pass if hop == 0 && route.targets.is_empty() => return Way::Nowhere,
            Verdict::Pass | Verdict::Ask(_) | Verdict::Refuse(_) => return Way::Elsewhere,
        }
    }
    Way::Elsewhere
}

/// An admin listener that others than this host reach.
fn open_admin(source: &Source, tell: &mut Tell<'_>) {
    let addresses = source.config.admin.as_ref().map(|admin| admin.address.sockets()).unwrap_or_default();
    if addresses.iter().any(|address| address.ip().is_unspecified()) {
        let remedy = "bind it to 127.0.0.1 or to the address of a network that outsiders do not reach";
        tell("admin.address", "everybody who reaches this host reaches the metrics and the API".to_owned(), remedy);
    }
}

/// Hosts of routes that no certificate of a listener is for.
fn certificates(source: &Source, snapshot: &Snapshot, tell: &mut Tell<'_>) {
    for entrance in &snapshot.listeners {
        let Some(tls) = entrance.listener.spec.tls.as_ref().filter(|tls| !tls.certificates.is_empty()) else {
            continue;
        };
        let given = entrance.listener.tls.iter().flat_map(|tls| &tls.certificates);
        let names: HashSet<_> = given.flat_map(|(names, _)| names.split(',')).collect();
        if tls.directory.is_some() || names.is_empty() {
            continue;
        }
        let served: HashSet<_> = entrance.table.routes.iter().map(|route| &*route.name).collect();
        for (at, route) in source.config.routes.iter().enumerate().filter(|(_, route)| served.contains(&*route.name)) {
            for (position, host) in route.hosts.iter().enumerate() {
                let host = host.to_ascii_lowercase();
                let above = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
                let is_name = host_length(host.trim_start_matches("*.").as_bytes()).is_some() && host != "*";
                if is_name && !names.contains(&*host) && above.is_none_or(|above| !names.contains(&*above)) {
                    let what = format!("no certificate of the listener `{}` is for `{host}`", entrance.listener.name);
                    tell(
                        &format!("routes.{at}.hosts.{position}"),
                        what,
                        "add one to `tls.certificates`, or name the `listeners` of the route",
                    );
                }
            }
        }
    }
}

fn names(source: &Source, resolved: &Resolved, tell: &mut Tell<'_>) {
    for (service, spec) in &source.config.services {
        for (at, endpoint) in spec.endpoints.iter().enumerate() {
            let EndpointAddress::Name(name, _) = &endpoint.address else { continue };
            if !matches!(resolved.get(name), Some(Ok(_))) {
                let what = format!("`{name}` does not resolve on this host");
                tell(
                    &format!("services.{service}.endpoints.{at}"),
                    what,
                    "correct the name, or check where it resolves",
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Syntax;
    use crate::control::compile::{Kept, compile};
    use std::path::Path;

    fn told(text: &str) -> Vec<String> {
        let source = Source::parse(text, Syntax::Toml, Path::new("r.toml"), &|_| None).unwrap();
        let compiled = compile(&source, &Resolved::new(), &mut Kept::default(), 1).unwrap();
        advice(&source, &compiled.snapshot, Some(&Resolved::new()))
            .iter()
            .map(|problem| problem.key.clone() + ": " + &problem.what)
            .collect()
    }

    const BASE: &str = "[listeners.web]\naddress = \":80\"\n[listeners.secure]\naddress = \":443\"\ntls = {}\n[services.s]\nendpoints = [\"10.0.0.1:80\"]\n";

    #[test]
    fn a_sound_configuration_is_told_nothing() {
        let routes = "[[routes]]\nname = \"plain\"\nlisteners = [\"web\"]\nfilters = [{ redirect = { scheme = \"https\" } }]\n\
                      [[routes]]\nname = \"app\"\nservice = \"s\"\nlisteners = [\"secure\"]\n\
                      [[routes]]\nname = \"api\"\nservice = \"s\"\npaths = [{ prefix = \"/api\" }]\n\
                      [[routes]]\nname = \"post\"\nservice = \"s\"\npaths = [{ prefix = \"/api\" }]\nmethods = [\"POST\"]\n";
        assert_eq!(told(&format!("{BASE}{routes}")), Vec::<String>::new());
    }

    #[test]
    fn what_can_hardly_be_meant_is_told() {
        let routes = "[[routes]]\nname = \"a\"\nservice = \"s\"\nhosts = [\"A.test\"]\n\
                      [[routes]]\nname = \"b\"\nservice = \"s\"\nhosts = [\"a.test\"]\npaths = [{ prefix = \"/\" }]\n\
                      [[routes]]\nname = \"c\"\nhosts = [\"c.test\"]\nfilters = [{ redirect = { scheme = \"https\" } }]\n\
                      [[routes]]\nname = \"d\"\nlisteners = [\"web\"]\nhosts = [\"d.test\"]\nfilters = [{ redirect = { host = \"e.test\" } }]\n\
                      [[routes]]\nname = \"e\"\nlisteners = [\"web\"]\nhosts = [\"e.test\"]\nfilters = [{ redirect = { host = \"d.test\" } }]\n\
                      [services.unused]\nendpoints = [\"no.such.name.invalid:80\"]\n";
        let told = told(&format!("{BASE}{routes}"));
        for expected in [
            "routes.1: `b` is never reached: the route `a` has the same conditions and goes first",
            "routes.2.filters.0: on the listener `secure` requests are where it leads already, and go nowhere",
            "routes.3.filters.0: the redirect goes round: http://d.test/ → http://e.test/ → http://d.test/",
            "services.unused: no route leads to it",
            "services.unused.endpoints.0: `no.such.name.invalid` does not resolve on this host",
        ] {
            assert!(told.iter().any(|line| line == expected), "{expected}\nnot in {told:#?}");
        }
    }
}
