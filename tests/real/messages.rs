//! What messages say, and to whom it counts: targets and authorities, trailers, fields of trusted hops, what old servers answer.

use crate::support::origin::{reply, write};
use crate::support::proxy::service;
use crate::support::{After, Client, ENGINES, Origin, Proxy};

/// What the upstream sees as the target.
fn target(proxy: &Proxy, origin: &Origin, target: &str) -> String {
    let mut client = Client::connect(proxy.address);
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(client.response("GET").status, 200, "{target}");
    origin.requests().pop().unwrap().target().to_owned()
}

#[test]
fn a_path_arrives_as_it_was_sent_and_no_route_is_passed_by() {
    for engine in ENGINES {
        let origin = Origin::text("x");
        let fetch = "/fetch/https://img.test/x.png?u=//%2d";
        for (keys, cases) in [
            ("", [(fetch, fetch), ("/a/%2d/%e2%82%ac", "/a/%2d/%e2%82%ac"), ("/x/a/../b", "/x/b"), ("/k//y", "/k//y")]),
            (
                "path = \"matched\"",
                [
                    (fetch, "/fetch/https:/img.test/x.png?u=//%2d"),
                    ("/a/%2d", "/a/-"),
                    ("/x/a/../b", "/x/b"),
                    ("/k//y", "/k/y"),
                ],
            ),
            ("path = \"as_sent\"", [(fetch, fetch), ("/a/./b", "/a/./b"), ("/a/../b", "/a/../b"), ("/x//y", "/x//y")]),
        ] {
            let proxy = Proxy::start(engine, &service(&[origin.address], keys));
            for (sent, expected) in cases {
                assert_eq!(target(&proxy, &origin, sent), expected, "{engine} {keys}");
            }
        }
        let rest = format!(
            "[[routes]]\nname = \"public\"\nservice = \"s\"\npaths = [{{ prefix = \"/public\" }}]\n\
             [services.s]\nendpoints = [\"{}\"]\npath = \"as_sent\"\n",
            origin.address
        );
        for (web, hidden) in [("", 400), ("hidden_dots = \"keep\"", 200)] {
            let proxy = Proxy::start_with(engine, web, &rest);
            let status = |target: &str| {
                Client::connect(proxy.address)
                    .send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
                    .response("GET")
                    .status
            };
            assert_eq!(status("/public/../admin"), 404, "what is matched has no dot segments");
            assert_eq!(status("/public/%2e%2E/admin"), 404);
            for target in ["/public/..%2Fadmin", "/public/..%5Cadmin", "/public/..\\admin", "/public/..;/admin"] {
                assert_eq!(status(target), hidden, "{engine} {web} {target}");
            }
        }
    }
}

#[test]
fn an_authority_is_compared_with_its_default_port_and_host_is_ignored_beside_a_whole_uri() {
    for engine in ENGINES {
        let origin = Origin::text("x");
        let proxy = Proxy::to(engine, &[origin.address]);
        for host in ["a.test", "a.test:80", "other.test"] {
            let mut client = Client::connect(proxy.address);
            client.send(format!("GET http://a.test:80/ HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert_eq!(client.response("GET").status, 200, "{engine} {host}");
            assert_eq!(origin.requests().pop().unwrap().field("host"), Some("a.test:80"));
        }
    }
}

#[test]
fn a_filter_holds_for_trailers_and_nobody_says_there_who_he_is() {
    for engine in ENGINES {
        let origin = Origin::start(|_, stream| {
            let head = b"HTTP/1.1 103 Early Hints\r\nX-Secret: 1\r\nLink: y\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            write(stream, head);
            write(stream, b"2\r\nhi\r\n0\r\nX-Secret: 1\r\nX-Sum: 7\r\nX-Set: theirs\r\n\r\n")
        });
        let filters = "filters = [{ request_headers = { remove = [\"X-Auth\"], set = { X-User = \"nobody\" } } },\n\
             { response_headers = { remove = [\"X-Secret\"], set = { X-Set = \"ours\" } } }]\n";
        let rest =
            service(&[origin.address], "").replace("service = \"all\"\n", &format!("service = \"all\"\n{filters}"));
        let proxy = Proxy::start(engine, &rest);
        let mut client = Client::connect(proxy.address);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n");
        client.send(
            "X-Auth: evil\r\nX-User: root\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-User: root\r\nX-Sum: 1\r\n\r\n",
        );
        let hints = client.head();
        assert!(
            hints.starts_with("HTTP/1.1 103 ") && hints.contains("Link: y") && !hints.contains("X-Secret"),
            "{hints}"
        );
        let response = client.response("POST");
        assert_eq!((response.trailers.as_str(), response.field("x-set")), ("X-Sum: 7\r\n", Some("ours")), "{engine}");
        let seen = origin.requests().pop().unwrap();
        assert_eq!((seen.field("x-user"), seen.field("trailer-x-sum")), (Some("nobody"), Some("1")));
        for gone in ["trailer-x-auth", "trailer-x-user", "trailer-x-forwarded-for", "trailer-x-forwarded-user"] {
            assert_eq!(seen.field(gone), None, "{engine} {gone}");
        }
    }
}

#[test]
fn a_field_that_is_repeated_meets_a_condition_in_no_order_or_in_both() {
    for engine in ENGINES {
        let (canary, stable) = (Origin::text("canary"), Origin::text("stable"));
        let rest = format!(
            "[[routes]]\nname = \"canary\"\nservice = \"c\"\nheaders = [{{ name = \"X-Canary\", value = \"1\" }}]\n\
             [[routes]]\nname = \"stable\"\nservice = \"s\"\n[services.c]\nendpoints = [\"{}\"]\n[services.s]\nendpoints = [\"{}\"]\n",
            canary.address, stable.address
        );
        let proxy = Proxy::start(engine, &rest);
        for (fields, expected) in [
            ("X-Canary: 1\r\n", "canary"),
            ("X-Canary: 1\r\nX-Canary: 0\r\n", "stable"),
            ("X-Canary: 0\r\nX-Canary: 1\r\n", "stable"),
        ] {
            let mut client = Client::connect(proxy.address);
            client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
            assert_eq!(client.response("GET").text(), expected, "{engine} {fields}");
        }
    }
}

#[test]
fn many_small_fields_and_many_interim_answers_pass() {
    for engine in ENGINES {
        let origin = Origin::start(|_, stream| {
            for _ in 0..24 {
                write(stream, b"HTTP/1.1 104 Upload Resumption Supported\r\nUpload-Offset: 7\r\n\r\n");
            }
            let fields = (0..1_000).map(|at| format!("X-{at}: 1\r\n")).collect::<Vec<_>>().concat();
            write(stream, format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok").as_bytes())
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        let fields = (0..1_000).map(|at| format!("Y-{at}: 1\r\n")).collect::<Vec<_>>().concat();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        for _ in 0..24 {
            assert!(client.head().starts_with("HTTP/1.1 104 "), "{engine}");
        }
        let response = client.response("GET");
        assert_eq!((response.text(), response.field("x-999")), ("ok", Some("1")), "{engine}");
        assert_eq!(origin.requests().pop().unwrap().field("y-999"), Some("1"));
    }
}

#[test]
fn an_answer_that_can_be_read_is_read_and_what_cannot_where_the_service_says_so() {
    let readable = [
        ("/colon", "HTTP/1.1 200 OK\r\nX-Frame-Options : DENY\r\nContent-Length : 2\r\n\r\nok"),
        ("/padded", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2  \r\nok\r\n0 ; a = \"b\"\r\n\r\n"),
    ];
    let lenient = [
        ("/lines", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
        (
            "/encodings",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        ("/lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
        ("/status", "HTTP/1.1 999 Denied\r\nContent-Length: 2\r\n\r\nok"),
    ];
    for engine in ENGINES {
        let origin = Origin::start(move |request, stream| {
            let answer = readable.iter().chain(&lenient).find(|(target, _)| *target == request.target()).unwrap().1;
            write(stream, answer.as_bytes());
            After::Close
        });
        let all = "lenient = [\"repeated_transfer_encoding\", \"bare_line_feed\", \"repeated_content_length\", \"status_above_599\"]";
        for keys in ["", all] {
            let proxy = Proxy::start(engine, &service(&[origin.address], keys));
            let mut client = Client::connect(proxy.address);
            for (target, _) in readable {
                let response = client.get(target);
                assert_eq!((response.status, response.text()), (200, "ok"), "{engine} {target}");
                assert!(target != "/colon" || response.head.contains("X-Frame-Options: DENY\r\n"), "{}", response.head);
            }
            for (target, _) in lenient {
                let response = client.get(target);
                let expected = if keys.is_empty() {
                    502
                } else if target == "/status" {
                    999
                } else {
                    200
                };
                assert_eq!(response.status, expected, "{engine} {target}");
                assert!(keys.is_empty() || response.text() == "ok");
            }
        }
    }
}

#[test]
fn our_own_answers_have_the_fields_of_their_route() {
    for engine in ENGINES {
        let gone = crate::support::proxy::free_address();
        let filters = "filters = [{ response_headers = { set = { X-Frame-Options = \"DENY\" } } }]\n";
        let rest = format!(
            "[[routes]]\nname = \"old\"\npaths = [{{ prefix = \"/old\" }}]\nfilters = [{{ redirect = {{ scheme = \"https\" }} }},\n\
               {{ response_headers = {{ set = {{ X-Frame-Options = \"DENY\" }} }} }}]\n{}",
            service(&[gone], "").replace("service = \"all\"\n", &format!("service = \"all\"\n{filters}"))
        );
        let proxy = Proxy::start_with(engine, "trusted_proxies = [\"127.0.0.1/32\"]", &rest);
        let mut client = Client::connect(proxy.address);
        let response = client.get("/");
        assert_eq!((response.status, response.field("x-frame-options")), (502, Some("DENY")), "{engine}");
        let response = client.get("/old/x");
        assert_eq!((response.status, response.field("x-frame-options")), (302, Some("DENY")));
        assert_eq!(response.field("location"), Some("https://test/old/x"));
        // What came that way already, by a trusted balancer's word, is not sent there again.
        client.send("GET /old/x HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n");
        assert_eq!(client.response("GET").status, 404, "{engine}: there is no service behind it");
        // Nobody knows where to: HTTP/1.0 may come without a host.
        let response = Client::connect(proxy.address).send("GET /old HTTP/1.0\r\n\r\n").response("GET");
        assert_eq!(response.status, 400, "{engine}");
        assert!(response.text().contains("host_missing"));
    }
}

#[test]
fn what_a_recipient_must_do_is_done() {
    for engine in ENGINES {
        let origin = Origin::start(|_, stream| reply(stream, b"x"));
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        let dated = client.get("/");
        assert!(dated.field("date").is_some_and(|date| date.ends_with(" GMT")), "{}", dated.head);
        client.send("OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 2\r\n\r\n");
        assert_eq!(client.response("OPTIONS").status, 200);
        assert_eq!(origin.requests().pop().unwrap().field("max-forwards"), Some("1"));
        let before = origin.requests().len();
        for (method, status) in [("OPTIONS", 204), ("TRACE", 405)] {
            client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n"));
            let response = client.response(method);
            assert_eq!((response.status, response.field("allow")), (status, Some("OPTIONS")), "{engine}");
        }
        assert_eq!(origin.requests().len(), before, "they went no further");
        client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response("OPTIONS").status, 200);
        assert_eq!(origin.requests().pop().unwrap().target(), "*");
    }
}
