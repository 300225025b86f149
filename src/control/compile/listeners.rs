//! Compiles listeners: their TLS, and the table of the routes that requests take from them.

use std::net::SocketAddr;
use std::sync::Arc;

use nix::unistd::Group;

use super::chains;
use super::compiler::{Compiler, KeptRoute};
use super::resilience::check_window;
use super::routes::closed;
use super::tls;
use crate::config::listeners::ListenerSpec;
use crate::filter::Filter;
use crate::route::Router;
use crate::snapshot::{Entrance, Listener, RouteTable, SocketAccess};
use crate::units::ListenAddress;

/// A listener with its table. What is as it was keeps its pointer; `others` are the entrances that are ready.
pub(super) fn entrance(
    compiler: &mut Compiler<'_>,
    (name, spec): (&str, &Arc<ListenerSpec>),
    routes: &[KeptRoute],
    others: &[Entrance],
) -> Entrance {
    let is_of_this =
        |route: &&KeptRoute| route.spec.listeners.is_empty() || route.spec.listeners.iter().any(|known| known == name);
    let routes: Vec<&KeptRoute> = routes.iter().filter(is_of_this).collect();
    Entrance { table: table(compiler, name, &routes, others), listener: listener(compiler, name, spec) }
}

fn listener(compiler: &mut Compiler<'_>, name: &str, spec: &Arc<ListenerSpec>) -> Arc<Listener> {
    check_window(compiler, &format!("listeners.{name}"), spec.http2_window_max);
    if spec.requests_per_connection == 0 {
        let key = format!("listeners.{name}.requests_per_connection");
        compiler.problem(&key, "a connection without a request is none", "write 1 or more");
    }
    let tls = tls::of_listener(compiler, name, spec);
    let filters = filters(compiler, name, spec);
    let print = chains::print(compiler, &filters);
    let before = compiler.kept.parts.entrances.get(name).map(|entrance| &entrance.listener);
    if let Some(before) = before
        && before.spec == *spec
        && before.filters == bare(&filters)
        && before.filters_print == print
        && before.tls.as_ref().map(Arc::as_ptr) == tls.as_ref().map(Arc::as_ptr)
    {
        let before = Arc::clone(before);
        if let Err((what, remedy)) = before.chain.claim(&mut compiler.kept.shared) {
            compiler.problem(&format!("listeners.{name}.use"), what, &remedy);
        }
        return before;
    }
    Arc::new(Listener {
        name: name.into(),
        label: compiler.kept.label(name),
        access: access(compiler, name, spec),
        spec: Arc::clone(spec),
        port: spec.public_port.unwrap_or_else(|| spec.address.sockets().first().map_or(0, SocketAddr::port)),
        tls,
        chain: chains::chain(compiler, &filters),
        filters: bare(&filters),
        filters_print: print,
    })
}

/// The filters of the chains that it names. They come before a route is chosen, so that none may change what that goes by.
fn filters(compiler: &mut Compiler<'_>, name: &str, spec: &ListenerSpec) -> Vec<(String, Filter)> {
    let filters = chains::resolved(compiler, &format!("listeners.{name}"), &spec.chains, &[]);
    for (key, _) in filters.iter().filter(|(_, filter)| filter.needs_route()) {
        let what = format!("{key} would change what routes are chosen by");
        compiler.problem(&format!("listeners.{name}.use"), what, "name that chain in routes");
    }
    filters
}

fn bare(filters: &[(String, Filter)]) -> Vec<Filter> {
    filters.iter().map(|(_, filter)| filter.clone()).collect()
}

/// Who may connect to it, where it is a Unix socket.
fn access(compiler: &mut Compiler<'_>, name: &str, spec: &ListenerSpec) -> SocketAccess {
    let mut access = SocketAccess::default();
    let is_unix = matches!(spec.address, ListenAddress::Unix(_));
    for (key, is_set) in [("mode", spec.mode.is_some()), ("group", spec.group.is_some())] {
        if is_set && !is_unix {
            let what = "only a Unix socket has one";
            compiler.problem(
                &format!("listeners.{name}.{key}"),
                what,
                "leave it out, or write `address = \"unix:/…\"`",
            );
        }
    }
    if let Some(mode) = spec.mode {
        access.mode = mode.bits();
    }
    if let Some(group) = &spec.group {
        let by_name = || Group::from_name(group).ok().flatten().map(|group| group.gid.as_raw());
        access.group = group.parse().ok().or_else(by_name);
        if access.group.is_none() {
            let what = format!("this host has no group `{group}`");
            compiler.problem(
                &format!("listeners.{name}.group"),
                what,
                "make it, or write another one's name or number",
            );
        }
    }
    access
}

/// The table of these routes: the one from before, or another listener's, where that has the same.
fn table(compiler: &mut Compiler<'_>, name: &str, routes: &[&KeptRoute], others: &[Entrance]) -> Arc<RouteTable> {
    let before = compiler.kept.parts.entrances.get(name).cloned();
    let is_same = |table: &RouteTable| {
        table.routes.len() == routes.len()
            && table.routes.iter().zip(routes).all(|(one, other)| Arc::ptr_eq(one, &other.route))
    };
    if let Some(known) = others.iter().chain(&before).find(|entrance| is_same(&entrance.table)) {
        return Arc::clone(&known.table);
    }
    let router = Router::build(routes.iter().map(|route| &*route.rule));
    let mut served: Vec<_> = routes.iter().map(|kept| Arc::clone(&kept.route)).collect();
    for unfit in router.unfit() {
        let (Some(kept), Some(place)) = (routes.get(*unfit), served.get_mut(*unfit)) else { continue };
        let known = compiler.source.config.routes.iter().position(|spec| spec.name == kept.spec.name);
        let at = known.unwrap_or_default();
        let what = "its expressions are too large, together with those of the routes before it of the same host";
        compiler.problem(&format!("routes.{at}.paths"), what, "use prefixes where they do");
        // Nobody loses anything for the expressions of another host, and nobody else answers what could be this one's.
        if let Some(closed) = closed(compiler, at, &kept.spec) {
            *place = closed.route;
        }
    }
    Arc::new(RouteTable { router, routes: served })
}
