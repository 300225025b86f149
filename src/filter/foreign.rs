//! Texts that mean something to another proxy: taken as they stand, they would silently be sent.

/// What is wrong with a text that means something to another proxy and would be taken as it stands here.
#[must_use]
pub(super) fn foreign_syntax(text: &str) -> Option<String> {
    const VARIABLES: [(&str, &str); 18] = [
        ("$remote_addr", "write {client_ip}; upstreams get it as X-Forwarded-For and X-Real-IP by default"),
        ("$proxy_add_x_forwarded_for", "upstreams get X-Forwarded-For by default"),
        ("$http_", "write {header:NAME}; fields of the client pass by themselves"),
        ("$host", "write {host}; the client's Host is kept by default"),
        ("$scheme", "write {scheme}; upstreams get X-Forwarded-Proto by default"),
        ("$request_uri", "write {uri}; in a redirect path and query stay as they are by default"),
        ("$server_name", "write {host}, or name the host itself"),
        ("$request_id", "write {request_id}; upstreams get X-Request-ID by default"),
        ("$upstream_", "the access log has it"),
        ("$remote_", "the access log has it"),
        ("$proxy_", "`host` of the service says what upstreams get"),
        ("$connection_upgrade", "upgrades pass by themselves"),
        ("$ssl_", "a client's certificate is sent as Client-Cert (RFC 9440)"),
        ("%{", "expressions of other proxies are not read"),
        ("{{", "variables have one brace here: {host}"),
        ("%[", "expressions of HAProxy are not read"),
        ("{http.", "variables of ours are {host}, {path}, {header:NAME} and others"),
        ("{remote_host}", "write {client_ip}; upstreams get it as X-Forwarded-For by default"),
    ];
    let (variable, instead) = VARIABLES.iter().find(|(variable, _)| text.contains(variable))?;
    Some(format!("`{variable}…` of another proxy would be sent as it stands; {instead}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_others_are_told_and_other_texts_are_not() {
        for text in ["$remote_addr", "https://$host$request_uri", "{{ .Host }}", "%[src]", "{http.request.host}"] {
            assert!(foreign_syntax(text).is_some(), "{text}");
        }
        for text in ["max-age=60", "default-src 'self'", "costs 5 $", "{\"a\": 1}", "100%"] {
            assert_eq!(foreign_syntax(text), None, "{text}");
        }
    }
}
