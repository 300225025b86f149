//! gRPC-web: what browsers can say of gRPC goes on as gRPC to a server of grpcio, and its answer back.

use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::support::client::Response;
use crate::support::proxy::free_address;
use crate::support::python::{grpc_server, grpc_web_routes};
use crate::support::{Client, ENGINES, PATIENCE, Proxy};

/// A message of gRPC, or the frame of trailers, with what stands before it.
fn frame(flag: u8, data: &[u8]) -> Vec<u8> {
    [&[flag][..], &u32::try_from(data.len()).unwrap().to_be_bytes(), data].concat()
}

fn call(proxy: &Proxy, method: &str, content_type: &str, body: &[u8]) -> Response {
    let mut client = Client::connect(proxy.address);
    let head = format!(
        "POST /test.{method} HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\nX-Grpc-Web: 1\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.send([head.as_bytes(), body].concat());
    client.response("POST")
}

/// The messages of a body and its trailers.
fn frames(mut body: &[u8]) -> (Vec<Vec<u8>>, String) {
    let mut messages = Vec::new();
    while !body.is_empty() {
        let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
        let (data, rest) = body[5..].split_at(length);
        if body[0] == 0x80 {
            assert!(rest.is_empty(), "trailers are the last");
            return (messages, String::from_utf8(data.to_vec()).unwrap());
        }
        messages.push(data.to_vec());
        body = rest;
    }
    (messages, String::new())
}

/// Text of which each padded part was written by itself.
fn decoded(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(4).flat_map(|group| BASE64_STANDARD.decode(group).unwrap()).collect()
}

#[test]
fn calls_of_grpc_web_are_calls_of_grpc() {
    let (_server, upstream) = grpc_server();
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &grpc_web_routes(upstream, free_address()));
        let answer = call(&proxy, "Test/Unary", "application/grpc-web+proto", &frame(0, b"hello"));
        assert_eq!(answer.field("content-type"), Some("application/grpc-web+proto"), "{engine}: {}", answer.head);
        let (messages, trailers) = frames(&answer.body);
        assert_eq!(messages, [b"hello"], "{engine}");
        assert!(trailers.contains("grpc-status: 0\r\n") && trailers.contains("x-trailer: 1\r\n"), "{trailers}");

        let answer = call(&proxy, "Test/Down", "application/grpc-web", &frame(0, b"3"));
        let (messages, trailers) = frames(&answer.body);
        assert_eq!(messages.iter().map(Vec::len).collect::<Vec<_>>(), [1001; 3], "{engine}");
        assert!(trailers.contains("grpc-status: 0\r\n"), "{trailers}");

        // What the client wrote at once is padded each time, as is what is answered.
        let message = frame(0, &[b'x'; 100_000]);
        let text: String = message.chunks(1000).map(|part| BASE64_STANDARD.encode(part)).collect();
        let answer = call(&proxy, "Test/Unary", "application/grpc-web-text+proto", text.as_bytes());
        assert_eq!(answer.field("content-type"), Some("application/grpc-web-text+proto"), "{engine}");
        let (messages, trailers) = frames(&decoded(answer.text()));
        assert_eq!(messages, [vec![b'x'; 100_000]], "{engine}");
        assert!(trailers.contains("grpc-status: 0\r\n"), "{trailers}");
        assert_eq!(proxy.metric("ringress_panics_total"), 0);
    }
}

#[test]
fn what_fails_is_told_as_grpc_web_has_it() {
    let (_server, upstream) = grpc_server();
    let proxy = Proxy::start("io_uring", &grpc_web_routes(upstream, free_address()));
    let answer = call(&proxy, "Test/Fail", "application/grpc-web+proto", &frame(0, b""));
    let told = frames(&answer.body).1 + &answer.head;
    assert!(told.contains("grpc-status: 9") && told.contains("not so"), "{told}");
    // Ours, in fields, which its clients look at where there is no body.
    let answer = call(&proxy, "Gone/Unary", "application/grpc-web-text", b"AAAAAAA=");
    assert_eq!((answer.status, answer.field("grpc-status")), (200, Some("14")), "{}", answer.head);
    assert_eq!(answer.field("content-type"), Some("application/grpc-web-text+proto"));
    assert!(answer.head.contains("cause: connect_refused"), "{}", answer.head);
    // No text at all, and text that ends in the middle.
    for text in [&b"AAAA!AAA"[..], b"AAAAAAA"] {
        let answer = call(&proxy, "Test/Unary", "application/grpc-web-text", text);
        assert_eq!(answer.field("grpc-status"), Some("13"), "{}", answer.head);
        assert!(answer.head.contains("cause: client_bad_request:grpc_web_text"), "{}", answer.head);
    }
}

#[test]
fn an_empty_text_is_an_empty_message_and_what_follows_is_whole() {
    let (_server, upstream) = grpc_server();
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &grpc_web_routes(upstream, free_address()));
        let since = Instant::now();
        for _ in 0..3 {
            // A call without a message is an error to its server, told at once: its body has ended.
            let answer = call(&proxy, "Test/Unary", "application/grpc-web-text", b"");
            assert_eq!(answer.status, 200, "{engine}: {}", answer.head);
            let answer = call(&proxy, "Test/Unary", "application/grpc-web", &frame(0, b"whole"));
            assert_eq!(frames(&answer.body).0, [b"whole"], "{engine}");
        }
        assert!(since.elapsed() < PATIENCE, "{engine}: it waited for the end of a body");
        // What is no gRPC-web is not bridged: the server resets a stream of another kind.
        let answer = call(&proxy, "Test/Unary", "application/json", b"{}");
        assert!(!answer.head.contains("grpc-web"), "{engine}: {}", answer.head);
        assert_eq!((answer.status, answer.field("grpc-status")), (502, None), "{engine}: {}", answer.head);
    }
}
