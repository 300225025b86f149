//! The health-checking protocol of gRPC (`grpc.health.v1.Health/Check`): one call over a connection of its own.
//!
//! The two messages have one field each, so they are written and read here (Protocol Buffers' wire format).

use bytes::Bytes;
use h2::client::{SendRequest, handshake};
use http::{HeaderMap, Request};
use tokio::io::{AsyncRead, AsyncWrite};

/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u64 = 1;
/// Longest answer that is read, in bytes: the message has five.
const ANSWER_BYTES_MAX: usize = 1024;

/// Asks whether a service serves; the empty name is the whole server's.
///
/// # Errors
/// What the server said, or why it said nothing.
pub(super) async fn check(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    authority: &str,
    service: &str,
) -> Result<(), String> {
    let (sender, connection) = handshake(stream).await.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let answered = call(sender, authority, service).await;
    connection.abort();
    answered
}

async fn call(sender: SendRequest<Bytes>, authority: &str, service: &str) -> Result<(), String> {
    let text = |error: h2::Error| error.to_string();
    let request = Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .version(http::Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "ringress-health")
        .body(())
        .map_err(|error| error.to_string())?;
    let mut sender = sender.ready().await.map_err(text)?;
    let (answer, mut body) = sender.send_request(request, false).map_err(text)?;
    body.send_data(question(service).into(), true).map_err(text)?;
    let (head, mut body) = answer.await.map_err(text)?.into_parts();
    if head.status != http::StatusCode::OK {
        return Err(format!("status {}", head.status.as_u16()));
    }
    let mut message = Vec::new();
    while let Some(data) = body.data().await {
        message.extend_from_slice(&data.map_err(text)?);
        if message.len() > ANSWER_BYTES_MAX {
            return Err("the answer is not one of a health check".to_owned());
        }
    }
    // An answer without a message has its status in the head.
    let trailers = body.trailers().await.map_err(text)?;
    let status = trailers.as_ref().and_then(grpc_status).or_else(|| grpc_status(&head.headers));
    match (status.as_deref(), serving(&message)) {
        (Some("0"), Some(SERVING)) => Ok(()),
        (Some("0"), Some(other)) => Err(format!("serving status {other}")),
        (Some("0"), None) => Err("the answer is not one of a health check".to_owned()),
        (Some(status), _) => Err(format!("grpc-status {status}")),
        (None, _) => Err("the answer has no grpc-status".to_owned()),
    }
}

fn grpc_status(fields: &HeaderMap) -> Option<String> {
    fields.get("grpc-status")?.to_str().ok().map(str::to_owned)
}

/// `HealthCheckRequest { service }` as one message of gRPC: a flag, its length, the message.
fn question(service: &str) -> Vec<u8> {
    const SERVICE: u8 = 1 << 3 | 2;
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(SERVICE);
        put_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], &message].concat()
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or_default());
}

/// `HealthCheckResponse.status`, 0 where the message leaves it out; `None` for what is no such message.
fn serving(bytes: &[u8]) -> Option<u64> {
    const STATUS: u8 = 1 << 3;
    let (head, message) = bytes.split_first_chunk::<5>()?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    match (head[0], message.get(..length)?) {
        (0, []) => Some(0),
        (0, [STATUS, status]) if *status < 0x80 => Some(u64::from(*status)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_the_wire_format() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("a.B"), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        assert_eq!(question(&"x".repeat(200))[5..8], [0x0a, 0xc8, 0x01]);
        assert_eq!(serving(&[0, 0, 0, 0, 2, 8, 1]), Some(SERVING));
        assert_eq!(serving(&[0, 0, 0, 0, 2, 8, 2]), Some(2));
        assert_eq!(serving(&[0, 0, 0, 0, 0]), Some(0));
        for bad in [&[][..], &[0, 0, 0, 0, 2, 8], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 2, 16, 1]] {
            assert_eq!(serving(bad), None);
        }
    }
}
