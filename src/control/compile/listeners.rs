//! Compiles listeners: their TLS, and the table of the routes that requests take from them.

use std::collections::HashMap;
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
    let is_same = |entrance: &&Entrance| entrance.table.is_of(routes.iter().map(|kept| &kept.route));
    let known = others.iter().chain(&before).find(is_same).map(|entrance| Arc::clone(&entrance.table));
    let is_told = others.iter().any(|entrance| is_same(&entrance));
    let table = known.unwrap_or_else(|| Arc::new(new_table(compiler, routes)));
    // Once for all listeners, and for as long as it is so.
    if !is_told && !table.left_out.is_empty() {
        tell_left_out(compiler, &table, routes);
    }
    table
}

/// A table of routes. Those whose expressions are left out are closed: nobody loses anything for the expressions of another host, and nobody
/// else answers what could be theirs.
fn new_table(compiler: &mut Compiler<'_>, routes: &[&KeptRoute]) -> RouteTable {
    let router = Router::build_with(routes.iter().map(|route| &*route.rule), &mut compiler.kept.expressions);
    let mut served: Vec<_> = routes.iter().map(|kept| Arc::clone(&kept.route)).collect();
    let mut left_out = Vec::new();
    let places = if router.left_out().is_empty() { HashMap::new() } else { places(compiler) };
    for at in router.left_out() {
        let (Some(kept), Some(route)) = (routes.get(*at), served.get_mut(*at)) else { continue };
        left_out.push((*at, Arc::clone(route)));
        let place = places.get(kept.spec.name.as_str());
        if let Some(closed) = place.and_then(|place| closed(compiler, *place, &kept.spec)) {
            *route = closed.route;
        }
    }
    RouteTable { router, routes: served, left_out }
}

/// The positions of routes in the configuration, by their names.
fn places(compiler: &Compiler<'_>) -> HashMap<String, usize> {
    compiler.source.config.routes.iter().enumerate().map(|(at, spec)| (spec.name.clone(), at)).collect()
}

fn tell_left_out(compiler: &mut Compiler<'_>, table: &RouteTable, routes: &[&KeptRoute]) {
    let places = places(compiler);
    for (at, _) in &table.left_out {
        let place = routes.get(*at).and_then(|kept| places.get(kept.spec.name.as_str())).copied().unwrap_or_default();
        let what = "its expressions are too large, together with those of the routes before it of the same host";
        compiler.problem(&format!("routes.{place}.paths"), what, "use prefixes where they do");
    }
}
