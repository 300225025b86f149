//! Hostile requests: for each the answer, and what reached the upstream.

use std::io::Write as _;

use crate::support::origin::reply;
use crate::support::proxy::service;
use crate::support::{Client, ENGINES, Origin, Proxy};

/// A request head is completed with a valid Host unless the case brings its own.
struct Case {
    name: &'static str,
    bytes: String,
    status: u16,
    cause: &'static str,
}

fn case(name: &'static str, bytes: impl Into<String>, status: u16, cause: &'static str) -> Case {
    Case { name, bytes: bytes.into(), status, cause }
}

/// Fields behind `GET /` and Host.
fn get(name: &'static str, fields: &str, rule: &'static str) -> Case {
    case(name, format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"), 400, rule)
}

/// A body behind a chunked POST.
fn chunked(name: &'static str, body: impl std::fmt::Display, rule: &'static str) -> Case {
    case(name, format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}"), 400, rule)
}

/// A first line.
fn line(name: &'static str, line: impl std::fmt::Display, status: u16, cause: &'static str) -> Case {
    case(name, format!("{line}\r\nHost: a\r\n\r\n"), status, cause)
}

fn framing() -> Vec<Case> {
    let both = "content_length_with_transfer_encoding";
    vec![
        get("CL.TE", "Content-Length: 4\r\nTransfer-Encoding: chunked", both),
        get("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 4", both),
        get("two lengths", "Content-Length: 4\r\nContent-Length: 5", "content_length_repeated"),
        get("two equal lengths", "Content-Length: 4\r\nContent-Length: 4", "content_length_repeated"),
        get("a list of lengths", "Content-Length: 4, 4", "content_length_invalid"),
        get("plus", "Content-Length: +4", "content_length_invalid"),
        get("minus", "Content-Length: -4", "content_length_invalid"),
        get("hexadecimal", "Content-Length: 0x4", "content_length_invalid"),
        get("overflow", "Content-Length: 18446744073709551616", "content_length_invalid"),
        get("many digits", &format!("Content-Length: {}", "9".repeat(40)), "content_length_invalid"),
        get("a space inside", "Content-Length: 1 2", "content_length_invalid"),
        get("empty length", "Content-Length:", "content_length_invalid"),
        get("gzip, chunked", "Transfer-Encoding: gzip, chunked", "transfer_encoding_invalid"),
        get("chunked twice", "Transfer-Encoding: chunked, chunked", "transfer_encoding_invalid"),
        get("two encodings", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "transfer_encoding_invalid"),
        get("identity", "Transfer-Encoding: identity", "transfer_encoding_invalid"),
        get("xchunked", "Transfer-Encoding: xchunked", "transfer_encoding_invalid"),
        get("chunked;x", "Transfer-Encoding: chunked;x", "transfer_encoding_invalid"),
        get("quoted", "Transfer-Encoding: \"chunked\"", "transfer_encoding_invalid"),
        get("vertical tab", "Transfer-Encoding: \x0bchunked", "field_value"),
        case(
            "encoding in 1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "transfer_encoding_in_http10",
        ),
    ]
}

fn chunks() -> Vec<Case> {
    vec![
        chunked("empty size", "\r\nabc\r\n", "chunk_size"),
        chunked("size with 0x", "0x3\r\nabc\r\n", "chunk_size"),
        chunked("size with sign", "+3\r\nabc\r\n", "chunk_size"),
        chunked("size with space", "3 \r\nabc\r\n", "chunk_size"),
        chunked("space before size", " 3\r\nabc\r\n", "chunk_size"),
        chunked("17 digits", "00000000000000003\r\nabc\r\n", "chunk_size"),
        chunked("not a digit", "z\r\nabc\r\n", "chunk_size"),
        chunked("bare LF behind the size", "3\nabc\r\n", "chunk_size"),
        chunked("bare CR behind the size", "3\rabc\r\n", "chunk_line_end"),
        chunked("a quote left open", "3;a=\"b\r\nabc\r\n", "chunk_extension"),
        chunked("an extension without a name", "3;;\r\nabc\r\n", "chunk_extension"),
        chunked("an extension outside ASCII", "3;\u{e9}\r\nabc\r\n", "chunk_extension"),
        chunked("a value without a name", "3;=b\r\nabc\r\n", "chunk_extension"),
        chunked("a folded trailer", "0\r\nA: b\r\n c\r\n\r\n", "trailer"),
        chunked("a trailer without a colon", "0\r\nA\r\n\r\n", "trailer"),
        chunked("a trailer with NUL", "0\r\nA: \0\r\n\r\n", "trailer"),
        chunked("a trailer with a space before its colon", "0\r\nA : b\r\n\r\n", "trailer"),
        chunked("no end of chunk", "3\r\nabcd\r\n", "chunk_line_end"),
        chunked("bare LF behind the data", "3\r\nabc\n0\r\n\r\n", "chunk_line_end"),
        chunked("LF in an extension", "3;a\nb\r\nabc\r\n", "chunk_extension"),
        chunked("long extension", format!("3;{}\r\nabc\r\n", "x".repeat(300)), "chunk_extension"),
        chunked(
            "many extensions",
            format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "y".repeat(200)).repeat(30)),
            "chunk_extension",
        ),
        chunked("bare LF in trailers", "0\r\nA: b\n\r\n", "trailer"),
        chunked("many trailers", format!("0\r\n{}\r\n", "A: b\r\n".repeat(2_049)), "trailer"),
        chunked("large trailers", format!("0\r\nA: {}\r\n\r\n", "x".repeat(70_000)), "trailer"),
    ]
}

fn lines() -> Vec<Case> {
    vec![
        line("no version", "GET /", 400, "request_line"),
        line("HTTP/0.9 by name", "GET / HTTP/0.9", 505, "client_version"),
        line("HTTP/2.0", "GET / HTTP/2.0", 505, "client_version"),
        line("HTTP/1.10", "GET / HTTP/1.10", 400, "request_line"),
        line("http in lower case", "GET / http/1.1", 400, "request_line"),
        line("two spaces", "GET  / HTTP/1.1", 400, "request_line"),
        line("space at the end", "GET / HTTP/1.1 ", 400, "request_line"),
        line("tab", "GET\t/ HTTP/1.1", 400, "request_line"),
        line("space in the target", "GET /a b HTTP/1.1", 400, "request_line"),
        line("method with a colon", "GE:T / HTTP/1.1", 400, "request_line"),
        line("no slash", "GET a HTTP/1.1", 400, "target_form"),
        line("other scheme", "GET gopher://a/ HTTP/1.1", 400, "target_form"),
        line("star without OPTIONS", "GET * HTTP/1.1", 400, "target_form"),
        line("fragment", "GET /a#b HTTP/1.1", 400, "target_character"),
        line("broken percent", "GET /%zz HTTP/1.1", 400, "target_percent"),
        line("percent at the end", "GET /% HTTP/1.1", 400, "target_percent"),
        line("encoded NUL", "GET /%00 HTTP/1.1", 400, "target_percent"),
        line("dots before an encoded slash", "GET /public/..%2Fadmin HTTP/1.1", 400, "hidden_dots"),
        line("dots before an encoded backslash", "GET /public/%2e.%5cadmin HTTP/1.1", 400, "hidden_dots"),
        line("dots before a backslash", "GET /public\\..\\admin HTTP/1.1", 400, "hidden_dots"),
        line("dots with a parameter", "GET /public/..;x/admin HTTP/1.1", 400, "hidden_dots"),
        line("connect", "CONNECT a:443 HTTP/1.1", 501, "client_method"),
        line("long target", format!("GET /{} HTTP/1.1", "x".repeat(17_000)), 414, "client_uri_too_long"),
        line("target without end", format!("GET /{}", "x".repeat(70_000)), 414, "client_uri_too_long"),
        case("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "client_version"),
        case("TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01", 400, "tls_to_plain_http"),
        case(
            "many empty lines",
            format!("{}GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n".repeat(50_000)),
            400,
            "request_line",
        ),
    ]
}

fn fields() -> Vec<Case> {
    let many = "A: b\r\n".repeat(2_049);
    vec![
        get("bare LF", "A: b\nC: d", "bare_line_feed"),
        get("bare CR", "A: b\rC: d", "field_value"),
        get("NUL", "A: b\0c", "field_value"),
        get("escape", "A: \x1b[31m", "field_value"),
        get("DEL", "A: \x7f", "field_value"),
        get("folding", "A: b\r\n c", "field_name"),
        get("folding with a tab", "A: b\r\n\tc", "field_name"),
        get("folded first", " A: b", "field_name"),
        get("space before the colon", "A : b", "field_name"),
        get("encoding with a space", "Transfer-Encoding : chunked", "field_name"),
        get("empty name", ": b", "field_name"),
        get("no colon", "A", "field_name"),
        get("name with a bracket", "A[0]: b", "field_name"),
        get("name outside ASCII", "\u{c4}: b", "field_name"),
        get("two hosts", "Host: b", "host_repeated"),
        get("two equal hosts", "Host: a", "host_repeated"),
        case("no host", "GET / HTTP/1.1\r\nA: b\r\n\r\n", 400, "host_missing"),
        case("empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "host_invalid"),
        case("host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "host_invalid"),
        case("host with a user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, "host_invalid"),
        case("host with a bad port", "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", 400, "host_invalid"),
        case("host list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, "host_invalid"),
        case("no host beside a whole URI", "GET http://b/ HTTP/1.1\r\nA: b\r\n\r\n", 400, "host_missing"),
        case("unknown expectation", "GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417, "client_expectation"),
        case("many fields", format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431, "client_head_too_large"),
        case(
            "large field",
            format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "x".repeat(66_000)),
            431,
            "client_head_too_large",
        ),
    ]
}

/// Sends the bytes in pieces; what comes back, or nothing where the connection just ended.
fn ask(proxy: &Proxy, bytes: &[u8], step: usize) -> Option<crate::support::Response> {
    let mut client = Client::connect(proxy.address);
    for piece in bytes.chunks(step) {
        // It may be refused before it is complete.
        if client.stream.write_all(piece).is_err() {
            break;
        }
    }
    let _ = client.stream.shutdown(std::net::Shutdown::Write);
    if client.buffer.is_empty() && !client.fill() {
        return None;
    }
    let response = client.response("GET");
    assert!(client.is_closed(), "the connection goes on after {:?}", String::from_utf8_lossy(bytes));
    Some(response)
}

#[test]
fn every_hostile_request_is_refused_with_its_rule_and_nothing_reaches_the_upstream() {
    for engine in ENGINES {
        let origin = Origin::start(|request, stream| reply(stream, request.target().as_bytes()));
        // Without HTTP/2 its preface is a request like any other.
        let proxy = Proxy::start_with(engine, "http2 = false", &service(&[origin.address], ""));
        let cases: Vec<_> = [framing(), chunks(), lines(), fields()].into_iter().flatten().collect();
        assert!(cases.len() >= 85);
        for (number, case) in cases.iter().enumerate() {
            for step in [usize::MAX, 7, 1] {
                if step < 7 && case.bytes.len() > 5_000 {
                    continue;
                }
                let response = ask(&proxy, case.bytes.as_bytes(), step);
                let status = response.as_ref().map_or(0, |response| response.status);
                assert_eq!(status, case.status, "{engine} {} by {step}: {response:?}", case.name);
                let text =
                    response.map(|response| String::from_utf8_lossy(&response.body).into_owned()).unwrap_or_default();
                assert!(text.contains(case.cause), "{engine} {}: {} not in {text}", case.name, case.cause);
            }
            // A canary on a fresh connection gets its own answer.
            let canary = format!("/canary/{number}");
            assert_eq!(Client::connect(proxy.address).get(&canary).text(), canary);
        }
        // Broken chunks are only seen after their head went up; no upstream request came whole.
        let strangers: Vec<_> =
            origin.requests().into_iter().filter(|request| !request.target().starts_with("/canary/")).collect();
        assert!(strangers.is_empty(), "{engine}: {strangers:?}");
    }
}

#[test]
fn what_passes_is_written_anew_from_what_was_parsed() {
    for engine in ENGINES {
        let origin = Origin::text("x");
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        client.send(
            "\r\nGET //a/./%62/%2e%2e/c%2fd?x=%2e HTTP/1.1\r\nhOST:   EXAMPLE.org  \r\nX-Keep:  v \t\r\nTransfer_Encoding: chunked\r\n\
             Connection: X-Drop, Content-Length, Host, X-Forwarded-For, Authorization\r\nX-Drop: 1\r\nAuthorization: Basic x\r\n\
             Proxy-Connection: keep-alive\r\nKeep-Alive: 5\r\nTE: trailers\r\nUpgrade: websocket\r\nX-Forwarded-Host: evil\r\n\r\n",
        );
        assert_eq!(client.response("GET").status, 200);
        let seen = origin.requests().pop().unwrap();
        assert_eq!(seen.line(), "GET //a/c%2fd?x=%2e HTTP/1.1");
        assert_eq!(
            (seen.field("host"), seen.field("x-keep"), seen.field("authorization")),
            (Some("example.org"), Some("v"), Some("Basic x"))
        );
        for gone in ["x-drop", "transfer_encoding", "connection", "proxy-connection", "keep-alive", "te", "upgrade"] {
            assert_eq!(seen.field(gone), None, "{engine} {gone}");
        }
        assert_eq!(seen.field("x-forwarded-host"), Some("example.org"));
        assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    }
}

#[test]
fn an_unread_body_is_never_taken_for_the_next_request() {
    for engine in ENGINES {
        let origin = Origin::text("x");
        let rest =
            service(&[origin.address], "").replace("service = \"all\"\n", "service = \"all\"\nhosts = [\"known\"]\n");
        let proxy = Proxy::start(engine, &rest);
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: known\r\n\r\n";
        // Short enough to be drained: the next request is answered.
        let mut client = Client::connect(proxy.address);
        client.send(format!("POST / HTTP/1.1\r\nHost: b\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len()));
        assert_eq!(client.response("POST").status, 404);
        client.send("GET /next HTTP/1.1\r\nHost: known\r\n\r\n");
        assert_eq!(client.response("GET").status, 200);
        // Too long: the connection ends.
        let mut client = Client::connect(proxy.address);
        client.send(format!("POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 1000000\r\n\r\n{smuggled}"));
        let response = client.response("POST");
        assert_eq!((response.status, response.field("connection")), (404, Some("close")));
        assert!(client.is_closed());
        let targets: Vec<_> = origin.requests().iter().map(|request| request.target().to_owned()).collect();
        assert_eq!(targets, ["/next"], "{engine}");
    }
}
