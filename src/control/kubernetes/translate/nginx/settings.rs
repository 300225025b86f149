//! The ConfigMap of ingress-nginx: what holds where no annotation says otherwise.

use std::collections::BTreeMap;

use std::net::IpAddr;

use ipnet::IpNet;

use super::grammar::{size, words};
use super::rows::Risk;
use crate::control::kubernetes::objects::ObjectName;
use crate::control::kubernetes::translate::plan::{Owner, Plan};
use crate::control::kubernetes::translate::texts::{flag, is_network};
use crate::control::kubernetes::translate::world::World;

/// The values of the ConfigMap, read as they are asked for.
#[derive(Debug)]
pub(super) struct ClusterSettings<'a> {
    /// The name of the ConfigMap; `None` where the configuration names none.
    name: Option<ObjectName>,
    values: Option<&'a BTreeMap<String, String>>,
}

/// Keys that have a meaning here; the others are told.
pub(super) const KEYS: [&str; 71] = [
    "add-headers",
    "allow-cross-namespace-resources",
    "allow-snippet-annotations",
    "annotation-value-word-blocklist",
    "annotations-risk-level",
    "block-cidrs",
    "block-referers",
    "block-user-agents",
    "brotli-min-length",
    "brotli-types",
    "client-body-timeout",
    "client-header-timeout",
    "custom-http-errors",
    "denylist-source-range",
    "disable-access-log",
    "enable-access-log-for-default-backend",
    "enable-brotli",
    "enable-underscores-in-headers",
    "force-ssl-redirect",
    "global-allowed-response-headers",
    "global-auth-always-set-cookie",
    "global-auth-cache-duration",
    "global-auth-cache-key",
    "global-auth-method",
    "global-auth-request-redirect",
    "global-auth-response-headers",
    "global-auth-signin",
    "global-auth-signin-redirect-param",
    "global-auth-url",
    "gzip-min-length",
    "gzip-types",
    "hide-headers",
    "hsts",
    "hsts-include-subdomains",
    "hsts-max-age",
    "hsts-preload",
    "http-redirect-code",
    "keep-alive",
    "keep-alive-requests",
    "limit-conn-status-code",
    "limit-rate",
    "limit-rate-after",
    "limit-req-status-code",
    "load-balance",
    "no-auth-locations",
    "no-tls-redirect-locations",
    "preserve-trailing-slash",
    "proxy-add-original-uri-header",
    "proxy-body-size",
    "proxy-connect-timeout",
    "proxy-next-upstream",
    "proxy-next-upstream-tries",
    "proxy-read-timeout",
    "proxy-real-ip-cidr",
    "proxy-send-timeout",
    "proxy-set-headers",
    "retry-non-idempotent",
    "service-upstream",
    "ssl-ciphers",
    "ssl-protocols",
    "ssl-redirect",
    "ssl-reject-handshake",
    "ssl-session-cache",
    "ssl-session-ticket-key",
    "ssl-session-tickets",
    "ssl-session-timeout",
    "strict-validate-path-type",
    "use-forwarded-headers",
    "use-gzip",
    "use-http2",
    "whitelist-source-range",
];

impl<'a> ClusterSettings<'a> {
    /// Those of the ConfigMap that the configuration names. Keys without a meaning here are told.
    pub(super) fn read(plan: &mut Plan, world: World<'a>) -> Self {
        let Some(text) = &world.spec.config_map else { return Self { name: None, values: None } };
        let name = ObjectName::parse(text, "default");
        plan.wanted.config_maps.insert(name.clone());
        let values = world.index.config_maps.get(&name).map(|map| &map.data);
        let owner = Owner { kind: "ConfigMap", name: &name };
        for key in ["denylist-source-range", "whitelist-source-range"] {
            let text = values.and_then(|values| values.get(key)).map(String::as_str).unwrap_or_default();
            let elements = text.split(',').map(str::trim).filter(|element| !element.is_empty());
            for element in elements.filter(|element| !is_network(element)) {
                plan.problem(owner, key, format!("`{element}` is no network"), "write 10.0.0.0/8 or an address");
            }
        }
        for key in values.into_iter().flat_map(BTreeMap::keys) {
            if !KEYS.contains(&key.as_str()) {
                plan.problem(owner, key, "this key of ingress-nginx has no meaning here", "");
            }
        }
        Self { name: Some(name), values }
    }

    /// The name of the ConfigMap, where there is one.
    pub(super) fn name(&self) -> Option<&ObjectName> {
        self.name.as_ref().filter(|_| self.is_there())
    }

    /// True where there is one.
    pub(super) const fn is_there(&self) -> bool {
        self.values.is_some()
    }

    /// Notes what is wrong with a key.
    pub(super) fn tell(&self, plan: &mut Plan, key: &str, what: &str) {
        if let Some(name) = &self.name {
            plan.problem(Owner { kind: "ConfigMap", name }, key, what, "");
        }
    }

    /// The text of a key; `None` where there is none, or an empty one.
    #[must_use]
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        debug_assert!(KEYS.contains(&key), "{key}");
        self.values?.get(key).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    /// A switch.
    #[must_use]
    pub(super) fn flag(&self, key: &str, default: bool) -> bool {
        self.text(key).and_then(flag).unwrap_or(default)
    }

    /// A number; `None` where there is none.
    #[must_use]
    pub(super) fn whole(&self, key: &str) -> Option<u64> {
        self.text(key).and_then(|text| text.parse().ok())
    }

    /// A number.
    #[must_use]
    pub(super) fn number(&self, key: &str, default: u64) -> u64 {
        self.whole(key).unwrap_or(default)
    }

    /// A size in bytes.
    #[must_use]
    pub(super) fn size(&self, key: &str, default: u64) -> u64 {
        self.text(key).and_then(size).unwrap_or(default)
    }

    /// A status, where the text is one from 400 to 599.
    #[must_use]
    pub(super) fn status(&self, key: &str, default: u16) -> u16 {
        let status = self.text(key).and_then(|text| text.parse().ok());
        status.filter(|status| (400..=599).contains(status)).unwrap_or(default)
    }

    /// The networks of a list; what is none is told as the ConfigMap is read.
    #[must_use]
    pub(super) fn networks(&self, key: &str) -> Vec<String> {
        self.elements(key).filter(|text| is_network(text)).map(str::to_owned).collect()
    }

    /// The same, of those who alone may come in: where none of them can be read that is nobody.
    #[must_use]
    pub(super) fn only_networks(&self, key: &str) -> Vec<String> {
        let networks = self.networks(key);
        let is_said = self.elements(key).next().is_some();
        if networks.is_empty() && is_said { vec!["255.255.255.255/32".to_owned()] } else { networks }
    }

    /// What is between commas.
    pub(super) fn elements(&self, key: &str) -> impl Iterator<Item = &'a str> {
        self.text(key).unwrap_or_default().split(',').map(str::trim).filter(|element| !element.is_empty())
    }

    /// Paths, by how they begin.
    pub(super) fn paths(&self, key: &str, default: &'a str) -> impl Iterator<Item = &'a str> {
        words(self.text(key).unwrap_or(default))
    }

    /// The proxies before us whose word counts, where `use-forwarded-headers` is on. There it is everybody's unless a key says whose; here
    /// it is that of neighbours with private addresses.
    #[must_use]
    pub(super) fn trusted(&self) -> Vec<IpNet> {
        const NEIGHBOURS: &str = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,127.0.0.0/8,::1/128,fc00::/7";
        if !self.flag("use-forwarded-headers", false) {
            return Vec::new();
        }
        let asked = self.text("proxy-real-ip-cidr").filter(|text| *text != "0.0.0.0/0");
        words(asked.unwrap_or(NEIGHBOURS))
            .filter_map(|text| text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)))
            .collect()
    }

    /// The highest risk that annotations may have.
    #[must_use]
    pub(super) fn risk(&self) -> Risk {
        self.text("annotations-risk-level").and_then(Risk::of).unwrap_or(Risk::High)
    }

    /// The code of redirects to HTTPS and between names.
    #[must_use]
    pub(super) fn redirect_code(&self) -> u16 {
        match self.number("http-redirect-code", 308) {
            code @ (301 | 302 | 307) => u16::try_from(code).unwrap_or(308),
            _ => 308,
        }
    }
}
