//! Writes the response head that the client gets: the upstream's fields less what ends here, framed for the client.

use super::Filter;
use crate::proto::grpc_web;
use crate::proto::h1::encode::{self, put_field, put_number_field, put_status_line};
use crate::proto::h1::field::Known;
use crate::proto::h1::framing::Framing;
use crate::proto::h1::response::ResponseHead;

/// How the response goes to the client.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// How the body is framed towards the client.
    pub framing: Framing,
    /// True where the client's connection stays open.
    pub keep_alive: bool,
    /// True where the client must be told that it stays open: HTTP/1.0.
    pub says_keep_alive: bool,
    /// True where `Content-Length` is passed although there is no body: HEAD and 304.
    pub passes_length: bool,
    /// True where the client came by TLS.
    pub is_secure: bool,
    /// How gRPC goes to a client of gRPC-web.
    pub grpc_web: Option<grpc_web::Kind>,
}

impl Delivery {
    /// An interim response: a head, and nothing that is changed for a route.
    const INTERIM: Self = Self {
        framing: Framing::None,
        keep_alive: true,
        says_keep_alive: false,
        passes_length: false,
        is_secure: false,
        grpc_web: None,
    };
}

/// Appends the whole head.
pub fn put_response_head(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    bytes: &[u8],
    delivery: &Delivery,
    filters: &[Filter],
) {
    put_status_line(out, head.status(), head.reason(bytes));
    put_fields(out, head, bytes, delivery, filters);
    if let Some(kind) = delivery.grpc_web {
        let content_type = head.known(Known::ContentType, bytes).unwrap_or_default();
        if !is_removed(filters, delivery, b"content-type") {
            put_field(out, b"Content-Type", &kind.answer_type(content_type));
        }
    }
    match delivery.framing {
        Framing::Length(length) => put_number_field(out, b"Content-Length", length),
        Framing::Chunked => put_field(out, b"Transfer-Encoding", b"chunked"),
        Framing::None | Framing::UntilClose => {}
    }
    if head.status() == 101 {
        put_field(out, b"Connection", b"upgrade");
        put_field(out, b"Upgrade", head.known(Known::Upgrade, bytes).unwrap_or_default());
    } else if !delivery.keep_alive {
        put_field(out, b"Connection", b"close");
    } else if delivery.says_keep_alive {
        put_field(out, b"Connection", b"keep-alive");
    }
    for filter in filters {
        if let Some(edit) = filter.response_edit(delivery.is_secure) {
            edit.put.iter().for_each(|(name, value)| put_field(out, name, value));
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of an interim response (100, 103).
pub fn put_interim_head(out: &mut Vec<u8>, head: &ResponseHead, bytes: &[u8]) {
    put_status_line(out, head.status(), head.reason(bytes));
    put_fields(out, head, bytes, &Delivery::INTERIM, &[]);
    out.extend_from_slice(b"\r\n");
}

/// True where a filter of the route takes this field away, or sets it to a value of its own.
fn is_removed(filters: &[Filter], delivery: &Delivery, name: &[u8]) -> bool {
    filters.iter().any(|filter| filter.response_edit(delivery.is_secure).is_some_and(|edit| edit.removes(name)))
}

fn put_fields(out: &mut Vec<u8>, head: &ResponseHead, bytes: &[u8], delivery: &Delivery, filters: &[Filter]) {
    let passing = head.fields(bytes).filter(|(field, name, _)| {
        let passes = match field.known {
            Known::ContentLength => delivery.passes_length,
            Known::ContentType => delivery.grpc_web.is_none(),
            known => !known.is_hop_by_hop(),
        };
        passes && !field.nominated && !is_removed(filters, delivery, name)
    });
    encode::put_fields(out, bytes, passing.map(|(field, ..)| field));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_this_hop_are_replaced() {
        let bytes = b"HTTP/1.1 200 Fine\r\nServer: s\r\nContent-Length: 3\r\nConnection: close, x-own\r\nX-Own: 1\r\n\
            Keep-Alive: timeout=5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
        let mut head = ResponseHead::default();
        head.parse(bytes, false).unwrap();
        let delivery = Delivery {
            framing: head.framing(),
            keep_alive: true,
            says_keep_alive: true,
            passes_length: false,
            is_secure: false,
            grpc_web: None,
        };
        let mut out = Vec::new();
        put_response_head(&mut out, &head, bytes, &delivery, &[]);
        let expected = "HTTP/1.1 200 Fine\r\nServer: s\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 3\r\n\
            Connection: keep-alive\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
