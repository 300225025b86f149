//! One header field as places in its head, with the names that a proxy must know told apart once.

use std::ops::Range;

/// A place in a head: start and end in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Where `part` lies in `whole`, of which it must be a slice; empty otherwise.
    #[must_use]
    pub fn of(part: &[u8], whole: &[u8]) -> Self {
        let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        match (u32::try_from(start), u32::try_from(start.wrapping_add(part.len()))) {
            (Ok(from), Ok(to)) if start.wrapping_add(part.len()) <= whole.len() => Self { start: from, end: to },
            _ => Self::default(),
        }
    }

    /// The bytes at this place; empty where `whole` is shorter.
    #[must_use]
    pub fn bytes(self, whole: &[u8]) -> &[u8] {
        whole.get(self.range()).unwrap_or_default()
    }

    /// The place as a range of indices.
    #[must_use]
    pub const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// True where the place holds no byte.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// The part from `from` to `to`, both counted from this place's start and cut at its end.
    #[must_use]
    pub fn part(self, from: usize, to: usize) -> Self {
        let clip = |at: usize| u32::try_from(at).map_or(self.end, |at| self.start.saturating_add(at).min(self.end));
        Self { start: clip(from), end: clip(to) }
    }
}

/// A field line of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where the name is.
    pub name: Span,
    /// Where the value is, without the spaces around it.
    pub value: Span,
    /// Which name it is.
    pub known: Known,
    /// True where `Connection` names it, so that it ends at this hop (RFC 9110 §7.6.1).
    pub nominated: bool,
}

impl Field {
    /// A line that was parsed from these bytes.
    #[must_use]
    pub fn of(line: &httparse::Header<'_>, bytes: &[u8]) -> Self {
        let name = line.name.as_bytes();
        Self {
            name: Span::of(name, bytes),
            value: Span::of(line.value, bytes),
            known: Known::of(name),
            nominated: false,
        }
    }
}

/// The field names that change what a proxy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the field of the same name")]
pub enum Known {
    Other,
    Accept,
    Authorization,
    ClientCert,
    ClientCertChain,
    Connection,
    ContentLength,
    ContentType,
    Cookie,
    Date,
    EarlyData,
    Expect,
    Forwarded,
    Host,
    Http2Settings,
    KeepAlive,
    MaxForwards,
    Proxy,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    Referer,
    RetryAfter,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    UserAgent,
    Via,
    WwwAuthenticate,
    XForwardedFor,
    XForwardedHost,
    /// Any other name that begins with `X-Forwarded-`.
    XForwardedOther,
    XForwardedPort,
    XForwardedPrefix,
    XForwardedProto,
    XRealIp,
    XRequestId,
}

/// A set of known names, asked once for every field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownSet(u64);

impl KnownSet {
    /// Fields that end at this hop in every message (RFC 9110 §7.6.1).
    pub const HOP_BY_HOP: Self = Self::of(&[
        Known::Connection,
        Known::Http2Settings,
        Known::KeepAlive,
        Known::ProxyConnection,
        Known::Te,
        Known::TransferEncoding,
        Known::Upgrade,
    ]);

    /// These names.
    #[must_use]
    pub const fn of(names: &[Known]) -> Self {
        let (mut set, mut at) = (0, 0);
        while at < names.len() {
            set |= 1 << names[at] as u64;
            at += 1;
        }
        Self(set)
    }

    /// These and those, where `also` is true.
    #[must_use]
    pub const fn with(self, those: Self, also: bool) -> Self {
        if also { Self(self.0 | those.0) } else { self }
    }

    /// True where the name is one of them.
    #[must_use]
    pub const fn has(self, name: Known) -> bool {
        self.0 >> name as u64 & 1 == 1
    }
}

/// Whether a token and a known name, lower case and of the same length, are the same but for case: eight bytes at a time,
/// for every field of every message is looked at. Setting the bit that tells the cases apart changes no other byte of a
/// known name, and makes no other byte of a token one of them.
fn is_same(token: &[u8], known: &[u8]) -> bool {
    const CASE: u8 = 0x20;
    let (tokens, token_rest) = token.as_chunks::<8>();
    let (knowns, known_rest) = known.as_chunks::<8>();
    let word = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes) | u64::from_ne_bytes([CASE; 8]);
    tokens.iter().zip(knowns).all(|(token, known)| word(token) == word(known))
        && token_rest.iter().zip(known_rest).all(|(token, known)| token | CASE == known | CASE)
}

impl Known {
    /// Tells a name, which must be a token, whatever its case.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        let candidates: &[(&[u8], Self)] = match name.len() {
            2 => &[(b"te", Self::Te)],
            3 => &[(b"via", Self::Via)],
            4 => &[(b"host", Self::Host), (b"date", Self::Date)],
            5 => &[(b"proxy", Self::Proxy)],
            6 => &[(b"accept", Self::Accept), (b"cookie", Self::Cookie), (b"expect", Self::Expect)],
            7 => &[(b"referer", Self::Referer), (b"trailer", Self::Trailer), (b"upgrade", Self::Upgrade)],
            9 => &[(b"forwarded", Self::Forwarded), (b"x-real-ip", Self::XRealIp)],
            10 => &[
                (b"user-agent", Self::UserAgent),
                (b"connection", Self::Connection),
                (b"keep-alive", Self::KeepAlive),
                (b"early-data", Self::EarlyData),
            ],
            11 => &[(b"retry-after", Self::RetryAfter), (b"client-cert", Self::ClientCert)],
            12 => &[
                (b"x-request-id", Self::XRequestId),
                (b"content-type", Self::ContentType),
                (b"max-forwards", Self::MaxForwards),
            ],
            13 => &[(b"authorization", Self::Authorization)],
            14 => &[(b"content-length", Self::ContentLength), (b"http2-settings", Self::Http2Settings)],
            15 => &[(b"x-forwarded-for", Self::XForwardedFor)],
            16 => &[
                (b"x-forwarded-host", Self::XForwardedHost),
                (b"x-forwarded-port", Self::XForwardedPort),
                (b"proxy-connection", Self::ProxyConnection),
                (b"www-authenticate", Self::WwwAuthenticate),
            ],
            17 => &[
                (b"transfer-encoding", Self::TransferEncoding),
                (b"x-forwarded-proto", Self::XForwardedProto),
                (b"client-cert-chain", Self::ClientCertChain),
            ],
            18 => &[(b"x-forwarded-prefix", Self::XForwardedPrefix), (b"proxy-authenticate", Self::ProxyAuthenticate)],
            19 => &[(b"proxy-authorization", Self::ProxyAuthorization)],
            _ => &[],
        };
        candidates
            .iter()
            .find(|(known, _)| is_same(name, known))
            .map_or_else(|| Self::of_family(name), |(_, known)| *known)
    }

    /// A name that is known by how it begins.
    fn of_family(name: &[u8]) -> Self {
        const FORWARDED: &[u8] = b"x-forwarded-";
        match name.split_at_checked(FORWARDED.len()) {
            Some((start, [_, ..])) if is_same(start, FORWARDED) => Self::XForwardedOther,
            Some(_) | None => Self::Other,
        }
    }

    /// Tells a name as the variables of CGI know it, in which `_` and `-` are one.
    #[must_use]
    pub fn of_variable(name: &[u8]) -> Self {
        let dashed: Vec<_> = name.iter().map(|byte| if *byte == b'_' { b'-' } else { *byte }).collect();
        Self::of(&dashed)
    }

    /// True for fields that `Connection` may not take away: framing, routing, identity.
    #[must_use]
    pub const fn cannot_be_nominated(self) -> bool {
        matches!(
            self,
            Self::ContentLength
                | Self::Host
                | Self::Authorization
                | Self::ClientCert
                | Self::ClientCertChain
                | Self::Cookie
                | Self::EarlyData
                | Self::Forwarded
                | Self::Via
                | Self::XForwardedFor
                | Self::XForwardedHost
                | Self::XForwardedOther
                | Self::XForwardedPort
                | Self::XForwardedPrefix
                | Self::XForwardedProto
                | Self::XRealIp
                | Self::XRequestId
        )
    }
}

/// The elements of a comma-separated list, without the spaces around them; empty ones are left out.
pub fn list_elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// True where one of the credentials or challenges is of a scheme that authenticates the connection, and has its token: NTLM and
/// Negotiate (RFC 4559). Whoever uses that connection is then taken for whoever authenticated it.
#[must_use]
pub fn binds_connection(value: &[u8]) -> bool {
    list_elements(value).any(|element| {
        let space = element.iter().position(|byte| matches!(byte, b' ' | b'\t'));
        space.is_some_and(|at| {
            let scheme = &element[..at];
            scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
        })
    })
}

/// True for the bytes of a token (RFC 9110 §5.6.2).
#[must_use]
pub const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// True for a token: a name of a field or a method.
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// True for what the value of a field may be: no control characters but tabs (RFC 9110 §5.5).
#[must_use]
pub fn is_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
}

/// Marks the fields that `Connection` names, so that they end at this hop. Names are sorted once, so that neither a long list
/// nor many fields cost more than their bytes.
pub(crate) fn mark_nominated(fields: &mut [Field], bytes: &[u8]) {
    let mut nominated: Vec<&[u8]> = fields
        .iter()
        .filter(|field| field.known == Known::Connection)
        .flat_map(|field| list_elements(field.value.bytes(bytes)))
        .filter(|element| !is_option(element) && !Known::of(element).cannot_be_nominated())
        .collect();
    if nominated.is_empty() {
        return;
    }
    nominated.sort_unstable_by(|one, other| by_name(one, other));
    for field in fields {
        let name = field.name.bytes(bytes);
        field.nominated = nominated.binary_search_by(|element| by_name(element, name)).is_ok();
    }
}

fn is_option(element: &[u8]) -> bool {
    [&b"close"[..], b"keep-alive", b"upgrade"].iter().any(|option| element.eq_ignore_ascii_case(option))
}

/// The order of names, in which case does not count.
#[must_use]
pub fn by_name(one: &[u8], other: &[u8]) -> std::cmp::Ordering {
    one.iter().map(u8::to_ascii_lowercase).cmp(other.iter().map(u8::to_ascii_lowercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Span {
        fn into_field(self, bytes: &[u8]) -> Field {
            Field { name: self, value: Self::default(), known: Known::of(self.bytes(bytes)), nominated: false }
        }
    }

    #[test]
    fn a_span_finds_its_bytes_again() {
        let whole = b"Host: example";
        let span = Span::of(&whole[6..], whole);
        assert_eq!(span.bytes(whole), b"example");
        assert_eq!(span.part(0, 2).bytes(whole), b"ex");
        assert_eq!(span.part(5, 99).bytes(whole), b"le");
        assert!(Span::of(b"elsewhere", whole).bytes(whole).is_empty());
    }

    #[test]
    fn names_are_told_whatever_their_case() {
        assert_eq!(Known::of(b"TRANSFER-encoding"), Known::TransferEncoding);
        assert_eq!(Known::of(b"X-Forwarded-Proto"), Known::XForwardedProto);
        assert_eq!(Known::of(b"X-Forwarded-Prato"), Known::XForwardedOther);
        assert_eq!(Known::of(b"x-forwarded-tls-client-cert"), Known::XForwardedOther);
        assert_eq!((Known::of(b"X-Forwarded-"), Known::of(b"X-Forwarder-A")), (Known::Other, Known::Other));
        assert_eq!(Known::of_variable(b"X_Forwarded_For"), Known::XForwardedFor);
        assert_eq!(Known::of(b""), Known::Other);
        let name = b"x-forwarded-proto";
        for (at, byte) in (0..name.len()).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
            let mut changed = *name;
            changed[at] = byte;
            let is_same = changed.eq_ignore_ascii_case(name);
            assert!(!is_token(&changed) || (Known::of(&changed) == Known::XForwardedProto) == is_same, "{changed:?}");
        }
    }

    #[test]
    fn nomination_takes_a_name_whatever_its_case_and_leaves_identity_alone() {
        let bytes = b"X-A X-Bb X-B Cookie close Connection x-b, CLOSE,cookie,x-a,,x-a";
        let at = |from: u32, to: u32| Span { start: from, end: to }.into_field(bytes);
        let mut fields = [at(0, 3), at(4, 8), at(9, 12), at(13, 19), at(20, 25), at(26, 36)];
        fields[5].value = Span::of(&bytes[37..], bytes);
        mark_nominated(&mut fields, bytes);
        assert_eq!(fields.map(|field| field.nominated), [true, false, true, false, false, false]);
    }

    #[test]
    fn schemes_of_a_connection_are_told_from_those_of_a_request() {
        for (value, expected) in [
            ("NTLM TlRMTVNTUAAB", true),
            ("negotiate\tYIIZ==", true),
            ("Basic eA==", false),
            ("NTLM", false),
            ("Basic realm=\"NTLM x\", nTLM TlRM", true),
            ("NTLMv9 x", false),
        ] {
            assert_eq!(binds_connection(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn list_elements_are_trimmed_and_empty_ones_left_out() {
        let elements: Vec<_> = list_elements(b" close,, upgrade ,").collect();
        assert_eq!(elements, [&b"close"[..], b"upgrade"]);
    }
}
