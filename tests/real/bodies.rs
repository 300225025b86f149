//! Bodies: every framing both ways, streamed, bounded in memory, never completed where they were cut.

use std::io::Write as _;
use std::time::Duration;

use crate::support::origin::{fill, read_body, read_head, reply, write};
use crate::support::proxy::service;
use crate::support::{After, Client, ENGINES, Origin, Proxy, eventually, noise, past_probation};

/// Answers with the request's body, framed as the target asks.
fn echo() -> Origin {
    Origin::start(|request, stream| {
        let body = &request.body;
        match request.target() {
            "/chunked" => {
                write(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                for (number, piece) in body.chunks(1_000).enumerate() {
                    let extension = if number < 100 { ";ext=1" } else { "" };
                    write(stream, format!("{:x}{extension}\r\n", piece.len()).as_bytes());
                    write(stream, piece);
                    write(stream, b"\r\n");
                }
                write(stream, b"0\r\nX-Sum: 7\r\nContent-Length: 9\r\n\r\n")
            }
            "/close" => {
                write(stream, b"HTTP/1.1 200 OK\r\n\r\n");
                write(stream, body);
                After::Close
            }
            _ => reply(stream, body),
        }
    })
}

#[test]
fn every_framing_passes_both_ways_whole() {
    for engine in ENGINES {
        let origin = echo();
        let proxy = Proxy::to(engine, &[origin.address]);
        for length in [0, 1, 1_999, 2_048, 70_000, 3_000_000] {
            let body = noise(length as u64, length);
            for target in ["/length", "/chunked", "/close"] {
                let mut client = Client::connect(proxy.address);
                client.send(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
                let response = client.send(&body).response("POST");
                assert!(response.body == body && response.is_whole, "{engine} {target} {length}");
                assert_eq!(response.trailers, if target == "/chunked" { "X-Sum: 7\r\n" } else { "" });

                client.send(format!("POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"));
                for piece in body.chunks(777) {
                    client.send(format!("{:X}\r\n", piece.len())).send(piece).send("\r\n");
                }
                client.send("0\r\nX-Up: 1\r\nHost: evil\r\n\r\n");
                let response = client.response("POST");
                assert!(response.body == body && response.is_whole, "{engine} chunked {target} {length}");
                let request = origin.requests().pop().unwrap();
                assert_eq!(request.field("trailer-x-up"), Some("1"));
                assert_eq!(request.field("trailer-host"), None);
            }
            // HTTP/1.0 cannot be sent chunks.
            let mut client = Client::connect(proxy.address);
            client.send(format!("POST /chunked HTTP/1.0\r\nContent-Length: {length}\r\n\r\n"));
            let response = client.send(&body).response("POST");
            assert_eq!(response.field("transfer-encoding"), None);
            assert!(response.body == body, "{engine} HTTP/1.0 {length}");
        }
    }
}

#[test]
fn head_204_and_304_have_no_body_whatever_their_fields_say() {
    for engine in ENGINES {
        let origin = Origin::start(|request, stream| {
            let status = if request.line().starts_with("HEAD") { "200 OK" } else { &request.target()[1..] };
            write(stream, format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\nETag: \"e\"\r\n\r\n").as_bytes())
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        for _ in 0..3 {
            let head = client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").response("HEAD");
            assert_eq!((head.status, head.field("content-length")), (200, Some("5")));
            past_probation();
            let empty = client.get("/204");
            assert_eq!((empty.status, empty.field("content-length")), (204, None));
            past_probation();
            let same = client.get("/304");
            assert_eq!(
                (same.status, same.field("content-length"), same.field("etag")),
                (304, Some("5"), Some("\"e\""))
            );
            past_probation();
        }
        assert_eq!(origin.connections(), 1, "{engine}: each found the connection as the one before left it");
    }
}

#[test]
fn a_cut_body_is_never_made_to_look_whole() {
    for engine in ENGINES {
        let origin = Origin::start(|request, stream| {
            match request.target() {
                "/length" => write(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf!"),
                "/chunked" => write(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf!\r\n"),
                _ => write(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nbroken\r\n"),
            };
            After::Close
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        for (target, cause) in [
            ("/length", "upstream_truncated"),
            ("/chunked", "upstream_truncated"),
            ("/broken", "upstream_bad_body:chunk_size"),
        ] {
            let mut client = Client::connect(proxy.address);
            let response = client.get(target);
            // What is broken already where the head comes is answered in the upstream's place.
            let status = if target == "/broken" { 502 } else { 200 };
            assert_eq!((response.status, response.is_whole), (status, status == 502), "{engine} {target}");
            let line = proxy.line(target);
            assert_eq!((&line["status"], &line["cause"]), (&status.into(), &cause.into()), "{engine}");
        }
        // HTTP/1.0 would take an orderly end for the end of the body: it gets a reset.
        let mut client = Client::connect(proxy.address);
        client.send("GET /chunked HTTP/1.0\r\n\r\n");
        let mut bytes = Vec::new();
        let end = std::io::Read::read_to_end(&mut client.stream, &mut bytes);
        assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "{engine}");
    }
}

#[test]
fn a_gibibyte_passes_both_ways_within_64_mebibytes() {
    const GIB: usize = 1 << 30;
    for engine in ENGINES {
        let origin = Origin::raw(|stream, _, _| {
            let mut buffer = Vec::new();
            let Some(_) = read_head(stream, &mut buffer) else { return };
            write(stream, format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n").as_bytes());
            let mut passed = buffer.len();
            write(stream, &buffer);
            while passed < GIB {
                buffer.clear();
                if !fill(stream, &mut buffer) || write(stream, &buffer) == After::Close {
                    return;
                }
                passed += buffer.len();
            }
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let block = noise(1, 1 << 20);
        let mut client = Client::connect(proxy.address);
        client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {GIB}\r\n\r\n"));
        let mut sender = client.stream.try_clone().unwrap();
        let sent = block.clone();
        let upload = std::thread::spawn(move || (0..1_024).for_each(|_| sender.write_all(&sent).unwrap()));
        assert!(client.head().starts_with("HTTP/1.1 200"));
        let mut received = client.buffer.len();
        assert!(client.buffer[..] == block[..received], "{engine}");
        let mut chunk = vec![0; 1 << 18];
        while received < GIB {
            let bytes = std::io::Read::read(&mut client.stream, &mut chunk).unwrap();
            assert!(bytes > 0, "{engine}: ended at {received}");
            let from = received % block.len();
            let first = bytes.min(block.len() - from);
            assert!(chunk[..first] == block[from..from + first] && chunk[first..bytes] == block[..bytes - first]);
            received += bytes;
        }
        upload.join().unwrap();
        let peak = proxy.memory_kib("VmHWM");
        assert!(peak < 64 * 1_024, "{engine}: {peak} KiB");
    }
}

#[test]
fn a_slow_reader_holds_the_upstream_back() {
    for engine in ENGINES {
        let origin = Origin::start(|_, stream| {
            write(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 300000000\r\n\r\n");
            let block = [b'x'; 1 << 16];
            stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
            let mut sent = 0_usize;
            while sent < 300_000_000 && stream.write_all(&block).is_ok() {
                sent += block.len();
            }
            // What fits into the sockets' buffers and ours, and no more.
            assert!(sent < 100_000_000, "{sent} bytes were taken though nobody read");
            After::Close
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        eventually("the upstream gave up", || origin.requests().len() == 1 && origin.open() == 0);
        assert!(proxy.memory_kib("VmRSS") < 64 * 1_024);
    }
}

#[test]
fn an_early_answer_passes_while_the_body_still_comes() {
    for engine in ENGINES {
        let origin = Origin::raw(|stream, seen, _| {
            let mut buffer = Vec::new();
            let Some(mut request) = read_head(stream, &mut buffer) else { return };
            write(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n");
            if read_body(stream, &mut buffer, &mut request) {
                seen.lock().unwrap().push(request);
                write(stream, b"4\r\nlate\r\n0\r\n\r\n");
            }
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf");
        assert!(client.head().starts_with("HTTP/1.1 200"));
        while !client.buffer.ends_with(b"early\r\n") {
            assert!(client.fill());
        }
        client.send("rest");
        while !client.buffer.ends_with(b"4\r\nlate\r\n0\r\n\r\n") {
            assert!(client.fill());
        }
        assert_eq!(origin.requests()[0].body, b"halfrest");
    }
}

#[test]
fn an_upload_that_stalls_does_not_cut_an_answer_that_is_on_its_way() {
    for engine in ENGINES {
        let origin = Origin::raw(|stream, _, _| {
            let mut buffer = Vec::new();
            if read_head(stream, &mut buffer).is_some() {
                write(stream, b"HTTP/1.1 403 No\r\nContent-Length: 10\r\n\r\n");
                for _ in 0..10 {
                    std::thread::sleep(Duration::from_millis(100));
                    write(stream, b"x");
                }
                while fill(stream, &mut buffer) {}
            }
        });
        let web = "timeouts = { body = \"300ms\" }";
        let proxy = Proxy::start_with(engine, web, &service(&[origin.address], ""));
        for expect in ["", "Expect: 100-continue\r\n"] {
            let mut client = Client::connect(proxy.address);
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n{expect}\r\n"));
            let response = client.response("POST");
            assert_eq!(
                (response.status, response.text(), response.is_whole),
                (403, "xxxxxxxxxx", true),
                "{engine} {expect}"
            );
        }
    }
}

#[test]
fn a_final_early_answer_is_not_destroyed_by_the_rest_of_the_body() {
    for engine in ENGINES {
        let origin = Origin::raw(|stream, _, _| {
            let mut buffer = Vec::new();
            if read_head(stream, &mut buffer).is_some() {
                write(stream, b"HTTP/1.1 413 No\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
                while fill(stream, &mut buffer) && buffer.len() < 100_000 {}
            }
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n");
        let mut sender = client.stream.try_clone().unwrap();
        let upload = std::thread::spawn(move || {
            let block = noise(1, 100_000);
            (0..100).take_while(|_| sender.write_all(&block).is_ok()).count()
        });
        let response = client.response("POST");
        assert_eq!((response.status, response.text()), (413, "big"), "{engine}");
        upload.join().unwrap();
    }
}

#[test]
fn expectations_are_met_by_the_upstream_by_us_or_by_nobody() {
    for engine in ENGINES {
        let origin = Origin::raw(|stream, seen, _| {
            let mut buffer = Vec::new();
            while let Some(mut request) = read_head(stream, &mut buffer) {
                assert_eq!(request.field("expect"), Some("100-continue"));
                match request.target() {
                    "/says" => _ = write(stream, b"HTTP/1.1 100 Continue\r\n\r\n"),
                    "/refuses" => {
                        write(stream, b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
                        return;
                    }
                    _ => {}
                }
                assert!(read_body(stream, &mut buffer, &mut request));
                let body = request.body.clone();
                seen.lock().unwrap().push(request);
                reply(stream, &body);
            }
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let ask = |target: &str| {
            format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        };
        let mut client = Client::connect(proxy.address);
        for target in ["/says", "/silent"] {
            client.send(ask(target));
            assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n", "{engine} {target}");
            let response = client.send("body").response("POST");
            assert_eq!((response.status, response.text()), (200, "body"), "{engine} {target}");
        }
        // A client that does not wait gets no 100.
        client.send(ask("/says") + "body");
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200"), "{engine}: {head}");
        // After a refusal nobody knows whether the body comes, so the connection ends.
        let mut client = Client::connect(proxy.address);
        let response = client.send(ask("/refuses")).response("POST");
        assert_eq!((response.status, response.field("connection")), (403, Some("close")), "{engine}");
        assert!(client.is_closed());
    }
}

#[test]
fn early_hints_pass_to_clients_that_know_them() {
    for engine in ENGINES {
        let origin = Origin::start(|_, stream| {
            write(
                stream,
                b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nX: 1\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
            );
            reply(stream, b"x")
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.head(), "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        assert!(client.head().starts_with("HTTP/1.1 200"), "nobody waited for 100");
        let mut client = Client::connect(proxy.address);
        client.send("GET / HTTP/1.0\r\n\r\n");
        assert!(client.head().starts_with("HTTP/1.1 200"));
    }
}

#[test]
fn a_body_beyond_the_limit_is_refused() {
    for engine in ENGINES {
        let origin = echo();
        let proxy = Proxy::start_with(engine, "body_max = \"10KiB\"", &service(&[origin.address], ""));
        let mut client = Client::connect(proxy.address);
        client.send("POST /over HTTP/1.1\r\nHost: a\r\nContent-Length: 10241\r\n\r\n");
        let response = client.response("POST");
        assert_eq!((response.status, response.field("connection")), (413, Some("close")));
        assert_eq!(proxy.line("/over")["cause"], "client_body_too_large");
        assert_eq!(origin.requests().len(), 0);
        let mut client = Client::connect(proxy.address);
        client.send("POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(format!("2800\r\n{}\r\n1\r\nx\r\n", "x".repeat(10_240)));
        assert_eq!(client.response("POST").status, 413);
        let mut client = Client::connect(proxy.address);
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10240\r\n\r\n{}", "x".repeat(10_240)));
        assert_eq!(client.response("POST").status, 200);
    }
}
