//! Compiles how an application server is told of requests.

use super::compiler::Compiler;
use crate::config::services::{Protocol, ServiceSpec};
use crate::filter::compile::FilterPlace;
use crate::filter::template::Template;
use crate::proto::gateway::Gateway;
use crate::proto::gateway::script::ScriptRules;
use crate::snapshot::ServiceGateway;

/// What a service speaks in the place of HTTP, and its variables; `None` for HTTP.
pub(super) fn gateway(compiler: &mut Compiler<'_>, key: &str, spec: &ServiceSpec) -> Option<ServiceGateway> {
    let [first, second] = spec.uwsgi_modifiers;
    check_keys(compiler, key, spec);
    let gateway = match spec.protocol {
        Protocol::Uwsgi => Gateway::Uwsgi(first, second),
        Protocol::Scgi => Gateway::Scgi,
        Protocol::FastCgi => Gateway::FastCgi(spec.fastcgi_keep_conn),
        Protocol::Auto | Protocol::Http1 | Protocol::H2 => return None,
    };
    let mut params = Vec::with_capacity(spec.params.len());
    for (name, text) in &spec.params {
        params.extend(param(compiler, &format!("{key}.params.{name}"), (name, text)));
    }
    Some(ServiceGateway { gateway, params, script: spec.script.clone() })
}

/// Keys of another protocol than the one that is spoken would do nothing.
fn check_keys(compiler: &mut Compiler<'_>, key: &str, spec: &ServiceSpec) {
    let (is_fastcgi, is_uwsgi) = (spec.protocol == Protocol::FastCgi, spec.protocol == Protocol::Uwsgi);
    let params_remedy = "set `protocol` to \"uwsgi\", \"scgi\" or \"fastcgi\", or change fields by `request_headers`";
    for (name, is_right, what, remedy) in [
        (
            "params",
            spec.params.is_empty() || spec.protocol.is_gateway(),
            "upstreams of HTTP have no variables",
            params_remedy,
        ),
        ("script", spec.script.is_none() || is_fastcgi, "it is for FastCGI", "set `protocol` to \"fastcgi\""),
        (
            "fastcgi_keep_conn",
            !spec.fastcgi_keep_conn || is_fastcgi,
            "it is for FastCGI",
            "set `protocol` to \"fastcgi\"",
        ),
        (
            "uwsgi_modifiers",
            spec.uwsgi_modifiers == [0, 0] || is_uwsgi,
            "it is for uwsgi",
            "set `protocol` to \"uwsgi\"",
        ),
    ] {
        if !is_right {
            compiler.problem(&format!("{key}.{name}"), what, remedy);
        }
    }
    for (name, what, remedy) in spec.script.iter().flat_map(ScriptRules::faults) {
        compiler.problem(&format!("{key}.script.{name}"), format!("{what} does not name one"), remedy);
    }
}

/// A variable with its value.
fn param(compiler: &mut Compiler<'_>, key: &str, (name, text): (&str, &str)) -> Option<(Box<[u8]>, Template)> {
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let mut place = FilterPlace::new(&mut compiler.kept.shared);
    if !is_name {
        place.fault(format!("`{name}` is not the name of a variable"), "write letters, digits and _");
    }
    let template = place.template(text, 0);
    place.refuse_time();
    let faults = place.into_faults();
    faults.into_iter().for_each(|(what, remedy)| compiler.problem(key, what, &remedy));
    Some((name.as_bytes().into(), template?))
}
