//! What a cluster says of the listeners that serve it, beside what the configuration does.

use ipnet::IpNet;

use crate::config::listeners::{ListenerSpec, RequestIds};
use crate::config::tls::{ListenerTls, ResumptionKind, TlsVersion};
use crate::filter::Filter;
use crate::proto::h1::rules::Underscores;
use crate::units::{Duration, Material};

/// What is said of listeners; what is not stays as the configuration has it, which is the stricter word where both say something of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerWords {
    /// Proxies before us whose word counts.
    pub trusted: Vec<IpNet>,
    /// Whose identifiers of requests are kept.
    pub request_ids: Option<RequestIds>,
    /// The port by which clients reach those with TLS, unless the configuration says it.
    pub tls_port: Option<u16>,
    /// Requests of one connection.
    pub requests_per_connection: Option<u32>,
    /// How long clients are waited for: for a head, a body, and another request.
    pub header: Option<Duration>,
    /// See [`Self::header`].
    pub body: Option<Duration>,
    /// See [`Self::header`].
    pub idle: Option<Duration>,
    /// What becomes of names with `_`.
    pub underscores: Option<Underscores>,
    /// Whether HTTP/2 is spoken.
    pub http2: Option<bool>,
    /// What is asked of every request, before a route is chosen.
    pub blocked: Vec<Filter>,
    /// What is said of those with TLS.
    pub tls: TlsWords,
}

/// What is said of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsWords {
    /// The lowest version and the highest.
    pub versions: Option<(TlsVersion, TlsVersion)>,
    /// Cipher suites by the names of IANA.
    pub ciphers: Vec<String>,
    /// How clients go on from earlier handshakes.
    pub resumption: Option<ResumptionKind>,
    /// That was said; else it goes without saying, where the configuration says nothing else.
    pub says_resumption: bool,
    /// How long sessions are kept.
    pub session_time: Option<Duration>,
    /// What tickets are enciphered with.
    pub ticket_key: Option<Material>,
    /// Whether clients are refused who ask for a name without a certificate.
    pub strict_sni: Option<bool>,
}

impl ListenerWords {
    /// Puts it into a listener.
    pub fn apply(&self, listener: &mut ListenerSpec) {
        let put = |to: &mut Duration, said: Option<Duration>| *to = said.unwrap_or(*to);
        listener.trusted_proxies.extend(&self.trusted);
        listener.request_ids = self.request_ids.unwrap_or(listener.request_ids);
        listener.requests_per_connection = self.requests_per_connection.unwrap_or(listener.requests_per_connection);
        put(&mut listener.timeouts.header, self.header);
        put(&mut listener.timeouts.body, self.body);
        put(&mut listener.timeouts.idle, self.idle);
        listener.underscores = self.underscores.unwrap_or(listener.underscores);
        listener.http2 = self.http2.unwrap_or(listener.http2);
        if let Some(tls) = &mut listener.tls {
            listener.public_port = listener.public_port.or(self.tls_port);
            self.tls.apply(tls);
        }
    }
}

impl TlsWords {
    fn apply(&self, tls: &mut ListenerTls) {
        if tls.ciphers.is_empty() {
            tls.ciphers.clone_from(&self.ciphers);
        }
        if let Some((min, max)) = self.versions {
            // The stricter word counts, as long as something is left that can be spoken.
            let (min, max) = (min.max(tls.min_version), max.min(tls.max_version));
            let is_of_12 = |suite: &String| suite.contains("_WITH_");
            let has_suites = max == TlsVersion::V13 || tls.ciphers.is_empty() || tls.ciphers.iter().any(is_of_12);
            if min <= max && has_suites {
                (tls.min_version, tls.max_version) = (min, max);
            }
        }
        let is_free = tls.resumption == ResumptionKind::default() && tls.ticket_key.is_none();
        if self.says_resumption || is_free {
            tls.resumption = self.resumption.unwrap_or(tls.resumption);
        }
        tls.session_time = self.session_time.unwrap_or(tls.session_time);
        if self.ticket_key.is_some() {
            tls.ticket_key.clone_from(&self.ticket_key);
        }
        tls.strict_sni |= self.strict_sni == Some(true);
    }
}
