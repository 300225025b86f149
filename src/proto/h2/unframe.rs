//! Reads the response that an exchange writes for its client, in HTTP/1.1, as the parts that a stream of HTTP/2 has.

use http::header::{CONNECTION, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Response, StatusCode};

use crate::proto::h1::field::Known;
use crate::proto::h1::framing::BodyDecoder;
use crate::proto::h1::response::ResponseHead;
use crate::proto::h1::scan::HeadScan;

/// What comes next of a response.
#[derive(Debug)]
pub enum Part {
    /// An interim head (1xx).
    Interim(Response<()>),
    /// The head; true where nothing follows it.
    Head(Response<()>, bool),
    /// Bytes of body, at the start of what is left of the input and so many; true where they are the last.
    Data(usize, bool),
    /// The trailers, with which the response ends.
    Trailers(HeaderMap),
    /// The end.
    End,
}

/// The exchange wrote what is no response: a bug of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Follows one response.
#[derive(Debug)]
pub struct Unframer {
    stage: Stage,
    is_head: bool,
    is_tunnel: bool,
    trailers: Vec<u8>,
    /// For heads: used by whoever reads the next.
    head: ResponseHead,
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
    /// For the answer to a request: `is_head` to one of HEAD, `is_tunnel` where 101 means that another protocol begins,
    /// which HTTP/2 says by 200 (RFC 8441 §5).
    #[must_use]
    pub fn new(is_head: bool, is_tunnel: bool) -> Self {
        let (stage, head) = (Stage::Head(HeadScan::default()), ResponseHead::default());
        Self { stage, is_head, is_tunnel, trailers: Vec::new(), head }
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
                self.read_head(&input[..length]).map(|part| (length, Some(part)))
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

    fn read_head(&mut self, bytes: &[u8]) -> Result<Part, Broken> {
        self.head.parse(bytes, self.is_head).map_err(|_| Broken)?;
        let status = self.head.status();
        let is_switch = status == 101;
        let mut response = Response::new(());
        *response.status_mut() =
            if is_switch { StatusCode::OK } else { StatusCode::from_u16(status).map_err(|_| Broken)? };
        for (field, name, value) in self.head.fields(bytes) {
            let is_ours = field.known.is_hop_by_hop() || is_switch && is_of_handshake(name);
            if !is_ours {
                let name = HeaderName::from_bytes(name).map_err(|_| Broken)?;
                response.headers_mut().append(name, HeaderValue::from_bytes(value).map_err(|_| Broken)?);
            }
        }
        if self.head.is_interim() {
            self.stage = Stage::Head(HeadScan::default());
            return Ok(Part::Interim(response));
        }
        if is_switch {
            if !self.is_tunnel {
                return Err(Broken);
            }
            self.stage = Stage::Tunnel;
            return Ok(Part::Head(response, false));
        }
        let decoder = BodyDecoder::new(self.head.framing());
        let is_done = decoder.is_done();
        self.stage = if is_done { Stage::Done } else { Stage::Body(decoder) };
        Ok(Part::Head(response, is_done))
    }
}

/// What HTTP/1 says of a WebSocket's beginning, and HTTP/2 says otherwise.
fn is_of_handshake(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"sec-websocket-accept") || matches!(Known::of(name), Known::ContentLength)
}

/// Trailer lines as fields.
fn fields(lines: &[u8]) -> Result<HeaderMap, Broken> {
    let mut fields = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        let at = line.iter().position(|byte| *byte == b':').ok_or(Broken)?;
        let name = HeaderName::from_bytes(&line[..at]).map_err(|_| Broken)?;
        if ![CONNECTION, TRANSFER_ENCODING, UPGRADE].contains(&name) {
            fields.append(name, HeaderValue::from_bytes(line[at + 1..].trim_ascii()).map_err(|_| Broken)?);
        }
    }
    Ok(fields)
}
