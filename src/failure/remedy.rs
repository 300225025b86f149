//! What people can do about a failure, where its detail says more than its cause: another protocol than the one that is spoken.

use super::Failure;

impl Failure {
    /// What people can do: by its detail where that says what is wrong, else what the table says of its cause.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        let own = if let Self::UpstreamBadHeader(detail) | Self::H2Broken(detail) = self {
            of_stranger(detail.as_bytes())
        } else if let Self::ClientBadRequest(detail) = self {
            of_client(detail.as_bytes())
        } else {
            None
        };
        match own {
            Some(remedy) => remedy,
            None => self.row().remedy,
        }
    }
}

/// What people can do about a cause with this detail, where the detail says more.
#[must_use]
pub fn remedy_of(cause: &str, detail: &str) -> Option<&'static str> {
    match cause {
        "upstream_bad_header" | "h2_broken" => of_stranger(detail.as_bytes()),
        "client_bad_request" => of_client(detail.as_bytes()),
        _ => None,
    }
}

/// About an upstream that speaks something else; the names are those of `proto/stranger.rs`.
const fn of_stranger(detail: &[u8]) -> Option<&'static str> {
    Some(match detail {
        b"speaks_tls" => {
            "The upstream wants TLS: write `tls = {}` in the service, with `ca` where its authority is not one of the system's."
        }
        b"speaks_h2" => {
            "The upstream speaks HTTP/2 and nothing else, as gRPC does: write `protocol = \"h2\"` in the service."
        }
        b"speaks_http1" => {
            "The upstream speaks HTTP/1: write `protocol = \"http1\"` in the service, or leave `protocol` out."
        }
        b"speaks_fastcgi" => {
            "The upstream speaks FastCGI, which is not built yet: let it speak HTTP, or put a server before it that does."
        }
        b"speaks_ssh" | b"speaks_postgresql" | b"speaks_mysql" | b"speaks_redis" | b"speaks_smtp_or_ftp" => {
            "This is no web server: correct the address or the port in `endpoints`."
        }
        b"speaks_text" => {
            "The upstream sends text without a head of HTTP: correct the port in `endpoints`, or the program that answers there."
        }
        _ => return None,
    })
}

/// About a client that speaks something else.
const fn of_client(detail: &[u8]) -> Option<&'static str> {
    Some(match detail {
        b"tls_to_plain_http" => {
            "The client speaks TLS to a listener without it: use http:// there, or write `tls` in the listener."
        }
        b"plain_http_to_tls" => "The client speaks HTTP without TLS to a listener with it: use https:// there.",
        b"proxy_protocol" => {
            "A balancer sends the PROXY protocol, which is not read yet: switch it off there, and let it send X-Forwarded-For."
        }
        b"ssh" => "A client of SSH: it has the wrong port.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_that_says_more_has_a_remedy_of_its_own() {
        assert!(Failure::UpstreamBadHeader("speaks_tls").remedy().contains("tls = {}"));
        assert!(Failure::H2Broken("speaks_http1").remedy().contains("http1"));
        assert!(Failure::ClientBadRequest("tls_to_plain_http").remedy().contains("http://"));
        for other in [Failure::UpstreamBadHeader("status"), Failure::ConnectRefused, Failure::ClientBadRequest("x")] {
            assert_eq!(other.remedy(), other.row().remedy);
        }
    }
}
