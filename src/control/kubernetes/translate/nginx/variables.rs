//! Texts with variables of nginx, as templates of ours.

/// What stands for variables that do not depend on the request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Constants<'a> {
    /// `$namespace`.
    pub namespace: &'a str,
    /// `$ingress_name`.
    pub ingress: &'a str,
    /// `$service_name`.
    pub service: &'a str,
    /// `$service_port`.
    pub port: &'a str,
    /// `$location_path`.
    pub path: &'a str,
}

/// A text with variables of nginx as one with ours.
///
/// # Errors
/// The variable that has no meaning here.
pub(super) fn template(text: &str, constants: Constants<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (name, after) = match rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, after)) => (name, after),
            None => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                (&rest[..end], &rest[end..])
            }
        };
        if name.is_empty() {
            return Err("`$` without the name of a variable".to_owned());
        }
        out.push_str(&variable(name, constants).ok_or_else(|| format!("the variable `${name}` has no meaning here"))?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// What stands for a variable.
fn variable(name: &str, constants: Constants<'_>) -> Option<String> {
    let field = |name: &str| name.replace('_', "-");
    Some(match name {
        "scheme" | "pass_access_scheme" => "{scheme}".to_owned(),
        "host" | "server_name" => "{host}".to_owned(),
        "http_host" | "best_http_host" => "{authority}".to_owned(),
        "request_uri" | "escaped_request_uri" => "{uri}".to_owned(),
        "uri" | "document_uri" => "{path}".to_owned(),
        "args" | "query_string" => "{query}".to_owned(),
        "request_method" => "{method}".to_owned(),
        "remote_addr" | "binary_remote_addr" | "the_real_ip" => "{client_ip}".to_owned(),
        "remote_port" => "{client_port}".to_owned(),
        "server_port" | "pass_server_port" => "{port}".to_owned(),
        "req_id" | "request_id" => "{request_id}".to_owned(),
        "content_type" => "{header:Content-Type}".to_owned(),
        "content_length" => "{header:Content-Length}".to_owned(),
        "ssl_server_name" => "{tls_server_name}".to_owned(),
        "namespace" => constants.namespace.to_owned(),
        "ingress_name" => constants.ingress.to_owned(),
        "service_name" => constants.service.to_owned(),
        "service_port" => constants.port.to_owned(),
        "location_path" => constants.path.to_owned(),
        "proxy_upstream_name" | "proxy_host" => {
            format!("{}-{}-{}", constants.namespace, constants.service, constants.port)
        }
        digit if digit.len() == 1 && digit.as_bytes()[0].is_ascii_digit() && digit != "0" => format!("${digit}"),
        name => {
            if let Some(name) = name.strip_prefix("http_") {
                format!("{{header:{}}}", field(name))
            } else if let Some(name) = name.strip_prefix("arg_") {
                format!("{{query:{name}}}")
            } else {
                format!("{{cookie:{}}}", name.strip_prefix("cookie_")?)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_nginx_become_ours_and_others_are_told() {
        let constants = Constants { namespace: "shop", service: "web", port: "80", ..Constants::default() };
        for (text, expected) in [
            ("https://$host$request_uri", "https://{host}{uri}"),
            ("${http_x_user}-$arg_a.$cookie_b", "{header:x-user}-{query:a}.{cookie:b}"),
            ("$service_name.$namespace.svc", "web.shop.svc"),
            ("/$1/x", "/$1/x"),
            ("plain", "plain"),
        ] {
            assert_eq!(template(text, constants).as_deref(), Ok(expected), "{text}");
        }
        for text in ["$", "a$ b", "$geoip2_country", "${}"] {
            assert!(template(text, constants).is_err(), "{text}");
        }
    }
}
