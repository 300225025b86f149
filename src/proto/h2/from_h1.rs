//! Reads the message that an exchange writes, in HTTP/1.1, as the parts that a stream of HTTP/2 has: a response for its
//! client, or a request for an upstream.

use http::header::{HeaderName, HeaderValue, TE};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};

use crate::proto::h1::field::Known;
use crate::proto::h1::framing::{BodyDecoder, Framing};
use crate::proto::h1::request::{RequestHead, Underscores};
use crate::proto::h1::response::ResponseHead;
use crate::proto::h1::scan::HeadScan;

/// What comes next of a message.
#[derive(Debug)]
pub enum Part {
    /// An interim head (1xx).
    Interim(Response<()>),
    /// The head of a response; true where nothing follows it.
    Response(Response<()>, bool),
    /// The head of a request; true where nothing follows it.
    Request(Request<()>, bool),
    /// Bytes of body, at the start of what is left of the input and so many; true where they are the last.
    Data(usize, bool),
    /// The trailers, with which the message ends.
    Trailers(HeaderMap),
    /// The end.
    End,
}

/// The exchange wrote what is no message: a bug of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// What kind of message is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The answer to a request.
    Response {
        /// To one of HEAD.
        is_head: bool,
        /// 101 means that another protocol begins, which HTTP/2 says by 200 (RFC 8441 §5).
        is_tunnel: bool,
    },
    /// A request; `https` or `http`.
    Request(&'static str),
}

/// Follows one message.
#[derive(Debug)]
pub struct Unframer {
    stage: Stage,
    kind: Kind,
    trailers: Vec<u8>,
}

#[derive(Debug)]
enum Stage {
    Head(HeadScan),
    Body(BodyDecoder),
    /// Another protocol's bytes.
    Tunnel,
    Done,
}

impl Unframer {
    /// At the start of a message.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self { stage: Stage::Head(HeadScan::default()), kind, trailers: Vec::new() }
    }

    /// True once all of it was read.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// True where another protocol's bytes pass.
    #[must_use]
    pub const fn is_tunnel(&self) -> bool {
        matches!(self.stage, Stage::Tunnel)
    }

    /// The next part of `input`, and how much of the input it took before it: for [`Part::Data`] the framing in front of
    /// the bytes, which are the caller's to take. `None` where more is needed; what was taken is taken all the same.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn next(&mut self, input: &[u8]) -> Result<(usize, Option<Part>), Broken> {
        match &mut self.stage {
            Stage::Head(scan) => {
                let Some(length) = scan.advance(input).map_err(|_| Broken)? else { return Ok((0, None)) };
                let head = &input[..length];
                let part = match self.kind {
                    Kind::Response { is_head, is_tunnel } => self.read_response(head, is_head, is_tunnel)?,
                    Kind::Request(scheme) => self.read_request(head, scheme)?,
                };
                Ok((length, Some(part)))
            }
            Stage::Body(decoder) => {
                let mut taken = 0;
                while taken < input.len() {
                    let piece = decoder.decode(&input[taken..], &mut self.trailers).map_err(|_| Broken)?;
                    if !piece.data.is_empty() {
                        let is_last = decoder.is_done();
                        if is_last {
                            self.stage = Stage::Done;
                        }
                        return Ok((taken + piece.data.start, Some(Part::Data(piece.data.len(), is_last))));
                    }
                    taken += piece.consumed;
                    if decoder.is_done() {
                        self.stage = Stage::Done;
                        let trailers = fields(&self.trailers)?;
                        return Ok((
                            taken,
                            Some(if trailers.is_empty() { Part::End } else { Part::Trailers(trailers) }),
                        ));
                    }
                }
                Ok((taken, None))
            }
            Stage::Tunnel if input.is_empty() => Ok((0, None)),
            Stage::Tunnel => Ok((0, Some(Part::Data(input.len(), false)))),
            Stage::Done => Err(Broken),
        }
    }

    fn read_response(&mut self, bytes: &[u8], is_head: bool, is_tunnel: bool) -> Result<Part, Broken> {
        let mut head = ResponseHead::default();
        head.parse(bytes, is_head).map_err(|_| Broken)?;
        let is_switch = head.status() == 101;
        let is_accepted = |accept: &[u8]| accept == super::WEBSOCKET_ACCEPT;
        let accept = head.fields(bytes).find(|(_, name, _)| name.eq_ignore_ascii_case(b"sec-websocket-accept"));
        if is_switch && !(is_tunnel && accept.is_none_or(|(_, _, value)| is_accepted(value))) {
            return Err(Broken);
        }
        let mut response = Response::new(());
        let status = if is_switch { 200 } else { head.status() };
        *response.status_mut() = StatusCode::from_u16(status).map_err(|_| Broken)?;
        for (field, name, value) in head.fields(bytes) {
            let is_of_connection = field.known.is_hop_by_hop() || is_switch && is_of_handshake(name);
            if !is_of_connection {
                put(response.headers_mut(), name, value)?;
            }
        }
        if head.is_interim() {
            self.stage = Stage::Head(HeadScan::default());
            return Ok(Part::Interim(response));
        }
        if is_switch {
            self.stage = Stage::Tunnel;
            return Ok(Part::Response(response, false));
        }
        let is_done = self.begin_body(head.framing());
        Ok(Part::Response(response, is_done))
    }

    fn read_request(&mut self, bytes: &[u8], scheme: &str) -> Result<Part, Broken> {
        let mut head = RequestHead::default();
        head.parse(bytes.to_vec(), Underscores::Keep).map_err(|_| Broken)?;
        let target = if head.target() == b"*" { b"*" } else { head.raw_target() };
        let path = PathAndQuery::try_from(target).or_else(|_| PathAndQuery::try_from(encoded(target)));
        let path = path.map_err(|_| Broken)?;
        let uri = Uri::builder().scheme(scheme).authority(head.authority()).path_and_query(path);
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(head.method()).map_err(|_| Broken)?;
        *request.uri_mut() = uri.build().map_err(|_| Broken)?;
        *request.version_mut() = http::Version::HTTP_2;
        let mut is_grpc = false;
        for (field, name, value) in head.fields() {
            if !field.known.is_hop_by_hop() && field.known != Known::Host {
                is_grpc |= field.known == Known::ContentType && super::is_grpc(value);
                put(request.headers_mut(), name, value)?;
            }
        }
        if is_grpc {
            // Its servers tell by this that nobody between drops trailers.
            request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        }
        let is_done = self.begin_body(head.framing());
        Ok(Part::Request(request, is_done))
    }

    /// True where there is none.
    fn begin_body(&mut self, framing: Framing) -> bool {
        let decoder = BodyDecoder::new(framing);
        let is_done = decoder.is_done();
        self.stage = if is_done { Stage::Done } else { Stage::Body(decoder) };
        is_done
    }
}

fn put(fields: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Broken> {
    let name = HeaderName::from_bytes(name).map_err(|_| Broken)?;
    fields.append(name, HeaderValue::from_bytes(value).map_err(|_| Broken)?);
    Ok(())
}

/// What HTTP/1 says of a WebSocket's beginning, and HTTP/2 says otherwise.
fn is_of_handshake(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"sec-websocket-accept") || matches!(Known::of(name), Known::ContentLength)
}

/// A target with what HTTP/1 lets through and no URI may hold as percent-encoded bytes (RFC 3986 §2.1).
fn encoded(target: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = Vec::with_capacity(target.len() + 16);
    for byte in target {
        if byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(byte) {
            encoded.push(*byte);
        } else {
            encoded.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
    encoded
}

/// Trailer lines as fields.
fn fields(lines: &[u8]) -> Result<HeaderMap, Broken> {
    let mut fields = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        let at = line.iter().position(|byte| *byte == b':').ok_or(Broken)?;
        if !Known::of(&line[..at]).is_hop_by_hop() {
            put(&mut fields, &line[..at], line[at + 1..].trim_ascii())?;
        }
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of a message that comes whole.
    fn parts(kind: Kind, message: &[u8]) -> Result<Vec<String>, Broken> {
        let mut unframer = Unframer::new(kind);
        let (mut at, mut parts) = (0, Vec::new());
        while at < message.len() && !unframer.is_done() {
            let (taken, part) = unframer.next(&message[at..])?;
            at += taken;
            match part {
                Some(Part::Data(length, is_last)) => {
                    parts.push(format!("{} {is_last}", String::from_utf8_lossy(&message[at..at + length])));
                    at += length;
                }
                Some(Part::Response(head, is_last)) => {
                    parts.push(format!("{} {:?} {is_last}", head.status(), head.headers()));
                }
                Some(Part::Request(head, is_last)) => {
                    parts.push(format!("{} {} {:?} {is_last}", head.method(), head.uri(), head.headers()));
                }
                Some(Part::Interim(head)) => parts.push(head.status().to_string()),
                Some(Part::Trailers(fields)) => parts.push(format!("{fields:?}")),
                Some(Part::End) => parts.push("end".to_owned()),
                None => break,
            }
        }
        Ok(parts)
    }

    const RESPONSE: Kind = Kind::Response { is_head: false, is_tunnel: false };

    #[test]
    fn a_response_loses_what_belongs_to_its_connection() {
        let message = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n\
            3\r\nabc\r\n0\r\nGrpc-Status: 0\r\n\r\n";
        let found = parts(RESPONSE, message).unwrap();
        let expected = ["103 Early Hints", "200 OK {\"x\": \"y\"} false", "abc false", "{\"grpc-status\": \"0\"}"];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_last_bytes_of_a_known_length_are_told_as_such() {
        let found = parts(RESPONSE, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").unwrap();
        assert_eq!(found, ["200 OK {\"content-length\": \"3\"} false", "abc true"]);
        let found = parts(RESPONSE, b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        assert_eq!(found, ["204 No Content {} true"]);
        let to_head = Kind::Response { is_head: true, is_tunnel: false };
        let found = parts(to_head, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n").unwrap();
        assert_eq!(found, ["200 OK {\"content-length\": \"3\"} true"]);
    }

    #[test]
    fn a_switch_is_a_200_where_a_tunnel_was_asked_for_and_a_bug_elsewhere() {
        let message = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: o+zpUhPLsmk9Z5wwXfle0bnj61o=\r\n\r\nraw";
        let tunnel = Kind::Response { is_head: false, is_tunnel: true };
        assert_eq!(parts(tunnel, message).unwrap(), ["200 OK {} false", "raw false"]);
        assert_eq!(parts(RESPONSE, message), Err(Broken));
    }

    #[test]
    fn a_request_names_its_authority_and_its_trailers() {
        let message = b"POST /a.S/M HTTP/1.1\r\nHost: up.test:81\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n\
            2\r\nhi\r\n0\r\n\r\n";
        let found = parts(Kind::Request("http"), message).unwrap();
        let head = "POST http://up.test:81/a.S/M {\"content-type\": \"application/grpc\", \"te\": \"trailers\"} false";
        assert_eq!(found, [head, "hi false", "end"]);
        let found = parts(Kind::Request("https"), b"GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(found, ["GET https://a/x?y {} true"]);
    }
}
