//! Writes a message of HTTP/2 as one of HTTP/1.1, which is then parsed as strictly as any other (RFC 9113 §8.2 to 8.5).
//!
//! A block of fields is gathered while it is decoded. What is wrong in it is remembered and does not end the decoding: the
//! fault is the message's, and the connection's compression must go on (§8.1.1).

use super::malformed::MessageFault;
use super::{WEBSOCKET_KEY, is_grpc};
use crate::limits::H2_HEADER_LIST_BYTES_MAX;
use crate::proto::h1::authority::{are_same, default_port};
use crate::proto::h1::encode::{put_field, put_number_field, put_status_line, reason};
use crate::proto::h1::fault::{RequestFault, ResponseFault};
use crate::proto::h1::field::is_token;
use crate::proto::h1::framing::decimal;

/// How the body of the stream is to be written behind the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carried {
    /// As it is: its length is in the head, or there is none.
    #[default]
    Plain,
    /// In chunks.
    Chunked,
    /// As it is: another protocol's bytes, once the answer says so (RFC 8441).
    Tunnel,
}

/// Whether a request has a body, as far as its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// The stream ended with the head.
    None,
    /// Its first byte is here, or its head says that there is one.
    Some,
    /// The stream goes on, which may come to nothing: many clients end it by an empty DATA.
    Unknown,
}

/// The pseudo-fields, as places in [`BlockFields::pseudo`].
const METHOD: usize = 0;
const SCHEME: usize = 1;
const AUTHORITY: usize = 2;
const PATH: usize = 3;
const PROTOCOL: usize = 4;
const STATUS: usize = 5;
const PSEUDO: [&[u8]; 6] = [b":method", b":scheme", b":authority", b":path", b":protocol", b":status"];

/// The fields of one block. Reusable: [`Self::clear`] forgets what was there.
#[derive(Debug, Default)]
pub struct BlockFields {
    pseudo: [Option<Vec<u8>>; 6],
    /// All other fields as lines of HTTP/1.1, but for those below.
    lines: Vec<u8>,
    hosts: Vec<Vec<u8>>,
    /// Crumbs are one field outside of HTTP/2 (§8.2.3).
    cookie: Vec<u8>,
    /// The lines of `Content-Length`, which are left out where they say nothing.
    length_lines: Vec<u8>,
    length: Option<u64>,
    websocket_key: Vec<u8>,
    /// Its trailers matter more than its length: it is gRPC, or says which trailers it has.
    has_trailers: bool,
    has_fields: bool,
    size: usize,
    fault: Option<MessageFault>,
}

impl BlockFields {
    /// Forgets everything.
    pub fn clear(&mut self) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        // An idle connection holds nothing of a long one.
        lines.shrink_to(2048);
        *self = Self { lines, ..Self::default() };
    }

    /// What is wrong with it.
    #[must_use]
    pub const fn fault(&self) -> Option<MessageFault> {
        self.fault
    }

    /// Its bytes, each field counted with 32 more (RFC 9113 §6.5.2).
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// What its `Content-Length` says.
    #[must_use]
    pub const fn length(&self) -> Option<u64> {
        self.length
    }

    /// True where its trailers matter more than its length, as for gRPC: a body with a length has none in HTTP/1.
    #[must_use]
    pub const fn has_trailers(&self) -> bool {
        self.has_trailers
    }

    /// Adds the next field of the block.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        self.size += name.len() + value.len() + 32;
        if self.fault.is_some() {
            return;
        }
        if self.size > H2_HEADER_LIST_BYTES_MAX as usize {
            self.fault = Some(MessageFault::TooLarge);
            self.lines = Vec::new();
            return;
        }
        let added =
            if name.first() == Some(&b':') { self.add_pseudo(name, value) } else { self.add_field(name, value) };
        self.fault = added.err();
    }

    fn add_pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), MessageFault> {
        let at = PSEUDO.iter().position(|known| *known == name).filter(|_| !self.has_fields);
        let place = &mut self.pseudo[at.ok_or(MessageFault::PseudoField)?];
        if place.is_some() {
            return Err(MessageFault::PseudoField);
        }
        *place = Some(value.to_vec());
        Ok(())
    }

    fn add_field(&mut self, name: &[u8], value: &[u8]) -> Result<(), MessageFault> {
        self.has_fields = true;
        if !is_token(name) || name.iter().any(u8::is_ascii_uppercase) {
            return Err(MessageFault::FieldName);
        }
        if !value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f)) {
            return Err(MessageFault::FieldValue);
        }
        match name {
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
                return Err(MessageFault::ConnectionField);
            }
            b"te" if !value.trim_ascii().eq_ignore_ascii_case(b"trailers") => {
                return Err(MessageFault::ConnectionField);
            }
            b"host" => self.hosts.push(value.trim_ascii().to_vec()),
            b"cookie" => {
                if !self.cookie.is_empty() {
                    self.cookie.extend_from_slice(b"; ");
                }
                self.cookie.extend_from_slice(value);
            }
            b"content-length" => {
                // Which of two would count, nobody knows; one that is no number says nothing of its body.
                let length = decimal(value.trim_ascii()).filter(|_| self.length.is_none());
                self.length = Some(length.ok_or(MessageFault::Length)?);
                put_field(&mut self.length_lines, name, value);
            }
            b"sec-websocket-key" => self.websocket_key = value.to_vec(),
            _ => {
                self.has_trailers |= name == b"content-type" && is_grpc(value) || name == b"trailer";
                put_field(&mut self.lines, name, value);
            }
        }
        Ok(())
    }

    fn pseudo(&self, at: usize) -> Option<&[u8]> {
        self.pseudo[at].as_deref()
    }

    /// Whether a request has a body, where its stream goes on or ended with the head.
    #[must_use]
    pub fn body(&self, ends_stream: bool) -> Body {
        let is_usual = matches!(self.pseudo(METHOD), Some(b"POST" | b"PUT" | b"PATCH"));
        if ends_stream {
            Body::None
        } else if is_usual || self.length.is_some() || self.has_trailers || self.pseudo(PROTOCOL).is_some() {
            Body::Some
        } else {
            Body::Unknown
        }
    }

    /// Appends the head of a request; a fault may leave a part of it.
    ///
    /// # Errors
    /// The first [`RequestFault`].
    pub fn put_request(&self, out: &mut Vec<u8>, body: Body) -> Result<Carried, RequestFault> {
        // What is known of a request that is refused is told with it.
        let method = self.pseudo(METHOD).filter(|method| is_token(method));
        let path = self.pseudo(PATH);
        let protocol = self.pseudo(PROTOCOL);
        let is_connect = method == Some(b"CONNECT");
        let is_extended = is_connect && protocol.is_some();
        let authority = self.pseudo(AUTHORITY).unwrap_or_default();
        let line = if is_extended { Some(&b"GET"[..]) } else { method };
        let target = if is_connect && !is_extended { Some(authority) } else { path };
        out.extend_from_slice(line.unwrap_or(b"-"));
        out.push(b' ');
        out.extend_from_slice(target.filter(|target| target.iter().all(|byte| is_of_line(*byte))).unwrap_or(b"-"));
        out.extend_from_slice(b" HTTP/1.1\r\n");
        if let Some(fault) = self.fault {
            return Err(fault.into());
        }
        let is_whole = match (is_connect, is_extended) {
            (true, false) => self.pseudo(SCHEME).is_none() && self.pseudo(PATH).is_none() && !authority.is_empty(),
            (true, true) | (false, _) => self.pseudo(SCHEME).is_some_and(is_scheme) && self.pseudo(PATH).is_some(),
        };
        let is_known = method.is_some() && self.pseudo(STATUS).is_none() && (protocol.is_none() || is_connect);
        if !is_whole || !is_known {
            return Err(RequestFault::PseudoField);
        }
        if !is_connect || is_extended {
            check_path(self.pseudo(PATH).unwrap_or_default())?;
        }
        self.put_host(out, authority)?;
        self.put_request_fields(out, body, if is_extended { protocol } else { None })
    }

    /// `:authority` and `Host` must agree where both are there (RFC 9113 §8.3.1).
    fn put_host(&self, out: &mut Vec<u8>, authority: &[u8]) -> Result<(), RequestFault> {
        let is_authority = |text: &[u8]| text.iter().all(|byte| byte.is_ascii_graphic() && !b"/?#@\\".contains(byte));
        if !is_authority(authority) {
            return Err(RequestFault::HostInvalid);
        }
        let host = match &self.hosts[..] {
            [] => authority,
            [host] if authority.is_empty() => host,
            [host] if are_same(host, authority, default_port(self.pseudo(SCHEME).unwrap_or_default())) => authority,
            [_] => return Err(RequestFault::HostDisagrees),
            [..] => return Err(RequestFault::HostRepeated),
        };
        if !host.is_empty() || !self.hosts.is_empty() {
            put_field(out, b"host", host);
        }
        Ok(())
    }

    fn put_request_fields(
        &self,
        out: &mut Vec<u8>,
        body: Body,
        protocol: Option<&[u8]>,
    ) -> Result<Carried, RequestFault> {
        let is_counted = body == Body::None || !self.has_trailers;
        self.put_fields(out, is_counted);
        let carried = if let Some(protocol) = protocol {
            // No other is known here, and what is read as HTTP/1.1 without it would not be a tunnel.
            if !protocol.eq_ignore_ascii_case(b"websocket") {
                return Err(RequestFault::Protocol);
            }
            put_field(out, b"connection", b"upgrade");
            put_field(out, b"upgrade", protocol);
            // Of no meaning in HTTP/2 (RFC 8441 §5.1), and asked for by every server of HTTP/1; the answer to it is dropped.
            put_field(out, b"sec-websocket-key", WEBSOCKET_KEY);
            Carried::Tunnel
        } else {
            if !self.websocket_key.is_empty() {
                put_field(out, b"sec-websocket-key", &self.websocket_key);
            }
            // A method that means a body has an empty one, and not none that its server would wait for.
            let tells_empty = matches!(self.pseudo(METHOD), Some(b"POST" | b"PUT" | b"PATCH"));
            self.put_framing(out, is_counted, body == Body::None, tells_empty)
        };
        out.extend_from_slice(b"\r\n");
        Ok(carried)
    }

    fn put_fields(&self, out: &mut Vec<u8>, is_counted: bool) {
        out.extend_from_slice(&self.lines);
        if !self.cookie.is_empty() {
            put_field(out, b"cookie", &self.cookie);
        }
        if is_counted {
            out.extend_from_slice(&self.length_lines);
        }
    }

    /// Writes how the body is framed, where its length is not among the fields already. `tells_empty` where a length of 0 is said.
    fn put_framing(&self, out: &mut Vec<u8>, is_counted: bool, is_ended: bool, tells_empty: bool) -> Carried {
        if is_counted && !self.length_lines.is_empty() {
            return Carried::Plain;
        }
        if !is_ended {
            put_field(out, b"transfer-encoding", b"chunked");
            return Carried::Chunked;
        }
        if tells_empty {
            put_number_field(out, b"content-length", 0);
        }
        Carried::Plain
    }

    /// The status of a response: 100 to 999, but not 101, which HTTP/2 has no use for (RFC 9113 §8.6).
    ///
    /// # Errors
    /// [`ResponseFault`]: this is no head of a response.
    pub fn status(&self) -> Result<u16, ResponseFault> {
        if let Some(fault) = self.fault {
            return Err(fault.into());
        }
        let others = &self.pseudo[..STATUS];
        let status = self.pseudo(STATUS).filter(|_| others.iter().all(Option::is_none));
        let status = status.ok_or(ResponseFault::PseudoField)?;
        let digits: &[u8; 3] = status.first_chunk().filter(|_| status.len() == 3).ok_or(ResponseFault::Status)?;
        let number = digits
            .iter()
            .try_fold(0_u16, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u16::from(digit - b'0')));
        number.filter(|status| *status >= 100 && *status != 101).ok_or(ResponseFault::Status)
    }

    /// Appends the head of a response with this status. `is_ended` where the stream has no body; `is_head` where it answers a
    /// HEAD request.
    pub fn put_response(&self, out: &mut Vec<u8>, status: u16, is_ended: bool, is_head: bool) -> Carried {
        put_status_line(out, status, reason(status).as_bytes());
        if !self.websocket_key.is_empty() {
            put_field(out, b"sec-websocket-key", &self.websocket_key);
        }
        for host in &self.hosts {
            put_field(out, b"host", host);
        }
        let is_counted = is_ended || !self.has_trailers;
        self.put_fields(out, is_counted);
        let has_no_body = is_head || status < 200 || matches!(status, 204 | 304);
        let carried = if has_no_body { Carried::Plain } else { self.put_framing(out, is_counted, is_ended, true) };
        out.extend_from_slice(b"\r\n");
        carried
    }

    /// Appends the fields as trailers of a body in chunks: their lines, without the empty one behind them.
    ///
    /// # Errors
    /// [`MessageFault`]: they are malformed; a pseudo-field among them is so too (RFC 9113 §8.1).
    pub fn put_trailers(&self, out: &mut Vec<u8>) -> Result<(), MessageFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.pseudo.iter().any(Option::is_some) {
            return Err(MessageFault::PseudoField);
        }
        out.extend_from_slice(&self.lines);
        Ok(())
    }
}

fn is_scheme(scheme: &[u8]) -> bool {
    scheme.eq_ignore_ascii_case(b"https") || scheme.eq_ignore_ascii_case(b"http")
}

/// True for a byte that does not end the line that it stands in, or a part of it.
const fn is_of_line(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f
}

/// A path begins with a slash, or is the asterisk of OPTIONS: nothing else may be taken for a whole URI behind it. Which
/// characters it may have is asked of every version alike, when the head is parsed; here are those that would end the line.
fn check_path(path: &[u8]) -> Result<(), RequestFault> {
    if !path.iter().all(|byte| is_of_line(*byte)) {
        return Err(RequestFault::TargetCharacter);
    }
    match path {
        [] => Err(RequestFault::PseudoField),
        [b'/', ..] | b"*" => Ok(()),
        [..] => Err(RequestFault::TargetForm),
    }
}
