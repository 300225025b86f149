//! Texts that mean something to another proxy: taken as they stand, they would silently be sent.

/// What is wrong with a text that means something to another proxy and would be taken as it stands here.
#[must_use]
pub(super) fn foreign_syntax(text: &str) -> Option<String> {
    const VARIABLES: [(&str, &str); 18] = [
        ("$remote_addr", "upstreams get the client's address as X-Forwarded-For and X-Real-IP by default"),
        ("$proxy_add_x_forwarded_for", "upstreams get X-Forwarded-For by default"),
        ("$http_", "fields of the client pass by themselves"),
        ("$host", "the client's Host is kept by default; in a redirect leave `host` out"),
        ("$scheme", "upstreams get X-Forwarded-Proto by default"),
        ("$request_uri", "the path and query of the request stay as they are where a redirect names none"),
        ("$server_name", "name the host itself"),
        ("$request_id", "upstreams get X-Request-ID by default"),
        ("$upstream_", "the access log has it"),
        ("$remote_", "the access log has it"),
        ("$proxy_", "`host` of the service says what upstreams get"),
        ("$connection_upgrade", "upgrades pass by themselves"),
        ("$ssl_", "a client's certificate is sent as Client-Cert (RFC 9440)"),
        ("%{", "expressions of other proxies are not read"),
        ("{{", "templates are not read"),
        ("%[", "expressions of HAProxy are not read"),
        ("{http.", "placeholders of Caddy are not read"),
        ("{remote_host}", "upstreams get the client's address as X-Forwarded-For by default"),
    ];
    if let Some(at) = text.find('$')
        && text[at + 1..].starts_with(|c: char| c.is_ascii_digit())
    {
        let group: String = text[at..].chars().take(2).collect();
        return Some(format!("`{group}` stands for nothing here, for there is no expression with groups"));
    }
    let (variable, instead) = VARIABLES.iter().find(|(variable, _)| text.contains(variable))?;
    Some(format!("`{variable}…` of another proxy would be sent as it stands; {instead}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_others_are_told_and_other_texts_are_not() {
        for text in
            ["$remote_addr", "https://$host$request_uri", "{{ .Host }}", "%[src]", "{http.request.host}", "/a/$1"]
        {
            assert!(foreign_syntax(text).is_some(), "{text}");
        }
        for text in ["max-age=60", "default-src 'self'", "costs 5 $", "{\"a\": 1}", "100%"] {
            assert_eq!(foreign_syntax(text), None, "{text}");
        }
    }
}
