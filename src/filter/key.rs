//! By what requests are told apart: the client's address, a field, a cookie, the host, or any text with variables.

use std::net::IpAddr;

use ipnet::IpNet;

use super::compile::FilterPlace;
use super::context::{Context, Notes};
use super::template::{Template, Values, Within};
use crate::hash::{hash_of, hash_of_address};
use crate::limits::{LIMIT_KEYS, LIMIT_KEYS_MAX};
use crate::proto::h1::request::RequestHead;

/// Bits of an IPv6 address that are one client by default: what one customer is given.
pub const IPV6_PREFIX: u8 = 64;

/// Whom a limit counts, and what the others get.
#[derive(Clone, Debug)]
pub(super) struct LimitScope {
    pub key: RequestKey,
    exempt: Vec<IpNet>,
    pub status: Option<u16>,
}

/// What a limit says of that.
pub(super) struct WrittenScope<'a> {
    pub key: &'a str,
    pub ipv6_prefix: u8,
    pub keys: usize,
    pub exempt: &'a [String],
    pub status: Option<u16>,
}

impl WrittenScope<'_> {
    /// Compiles it; what is wrong is told.
    pub(super) fn compile(&self, place: &mut FilterPlace) -> Option<LimitScope> {
        let key = RequestKey::compile(self.key, self.ipv6_prefix, place);
        let exempt = place.networks(self.exempt);
        place.refusal_status(self.status);
        if !(1..=LIMIT_KEYS_MAX).contains(&self.keys) {
            place.fault(format!("{} is not a number of keys", self.keys), format!("write 1 to {LIMIT_KEYS_MAX}"));
        }
        key.map(|key| LimitScope { key, exempt, status: self.status })
    }
}

impl LimitScope {
    /// The key of a request; `None` where it is not counted.
    pub(super) fn key_of(&self, head: &RequestHead, context: &Context<'_>, notes: &Notes) -> Option<Vec<u8>> {
        if context.is_client_in(&self.exempt) {
            return None;
        }
        let mut key = Vec::with_capacity(64);
        self.key.put(&mut key, head, context, notes);
        Some(key)
    }
}

/// By what requests are told apart, compiled.
#[derive(Clone, Debug)]
pub enum RequestKey {
    /// Not at all.
    None,
    /// The client's address; of IPv6 so many bits.
    Client(u8),
    /// A text; where it is empty for a request, the client's address.
    Text(Template, u8),
}

impl RequestKey {
    /// Reads `client_ip`, `host`, `none`, `header:NAME`, `cookie:NAME`, or a text with variables.
    pub fn compile(text: &str, ipv6_prefix: u8, place: &mut FilterPlace) -> Option<Self> {
        if ipv6_prefix > 128 {
            place.fault(format!("{ipv6_prefix} is no length of an IPv6 prefix"), "write 0 to 128");
        }
        let template = match text {
            "client_ip" => return Some(Self::Client(ipv6_prefix)),
            "none" => return Some(Self::None),
            "host" => "{host}".to_owned(),
            named if named.starts_with("header:") || named.starts_with("cookie:") => format!("{{{named}}}"),
            text if text.contains('{') => text.to_owned(),
            _ => {
                let remedy = "write client_ip, host, none, header:NAME, cookie:NAME, or a text with variables such as {host}{path}";
                place.fault(format!("`{text}` is not a key"), remedy);
                return None;
            }
        };
        let compiled = place.template(&template, 0)?;
        if compiled.literal().is_some() {
            // A name that no field or cookie has, or a text without a variable: all requests would be one.
            place.fault(format!("`{text}` is the same for every request"), "write a name as fields have it, or `none`");
        }
        Some(Self::Text(compiled, ipv6_prefix))
    }

    /// A number that requests of the same key have in common.
    #[must_use]
    pub fn hash(&self, values: &Values<'_>) -> u64 {
        let client = values.context.client;
        match self {
            Self::None => 0,
            Self::Client(_) => hash_of_address(client),
            Self::Text(template, _) => match &template.text(values, Within::Value)[..] {
                [] => hash_of_address(client),
                text => hash_of(text),
            },
        }
    }

    /// True where all requests are one.
    #[must_use]
    pub const fn is_single(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Appends the key of a request.
    pub fn put(&self, out: &mut Vec<u8>, head: &RequestHead, context: &Context<'_>, notes: &Notes) {
        match self {
            Self::None => {}
            Self::Client(bits) => put_address(out, context.client, *bits),
            Self::Text(template, bits) => {
                // What tells them from addresses.
                out.push(b'=');
                let from = out.len();
                template.put(out, &Values::behind(head, context, notes), Within::Value);
                if out.len() == from {
                    out.pop();
                    put_address(out, context.client, *bits);
                }
            }
        }
    }
}

pub(super) fn by_client() -> String {
    "client_ip".to_owned()
}

pub(super) const fn ipv6_prefix() -> u8 {
    IPV6_PREFIX
}

pub(super) const fn keys() -> usize {
    LIMIT_KEYS
}

fn put_address(out: &mut Vec<u8>, client: IpAddr, ipv6_prefix: u8) {
    match client.to_canonical() {
        IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => {
            let kept = u128::MAX.checked_shl(128 - u32::from(ipv6_prefix.min(128))).unwrap_or(0);
            out.extend_from_slice(&(address.to_bits() & kept).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::shared::SharedParts;
    use super::*;
    use crate::proto::h1::rules::HeadRules;

    #[test]
    fn addresses_of_one_customer_are_one_key_and_a_missing_field_is_the_address() {
        let mut head = RequestHead::default();
        head.parse(b"GET / HTTP/1.1\r\nHost: a\r\nX-Key: k\r\n\r\n".to_vec(), HeadRules::default()).unwrap();
        let key = |text: &str, client: &str| {
            let key =
                RequestKey::compile(text, IPV6_PREFIX, &mut FilterPlace::new(&mut SharedParts::default())).unwrap();
            let context = Context { client: client.parse().unwrap(), ..Context::of_nobody("http") };
            let mut out = Vec::new();
            key.put(&mut out, &head, &context, &Notes::default());
            out
        };
        assert_eq!(key("client_ip", "2001:db8::1"), key("client_ip", "2001:db8::ffff:0:0:1"));
        assert_ne!(key("client_ip", "2001:db8::1"), key("client_ip", "2001:db8:0:1::1"));
        assert_eq!(key("client_ip", "::ffff:10.0.0.1"), [10, 0, 0, 1]);
        assert_eq!(key("header:x-key", "10.0.0.1"), b"=k");
        assert_eq!(key("header:x-other", "10.0.0.1"), [10, 0, 0, 1]);
        assert_eq!(key("{host}|{header:x-key}", "10.0.0.1"), b"=a|k");
        assert_eq!(key("none", "10.0.0.1"), b"");
        assert!(RequestKey::compile("ip", 64, &mut FilterPlace::new(&mut SharedParts::default())).is_none());
    }
}
