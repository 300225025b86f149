//! Routes, filters and what upstreams are told about the client.

use crate::support::proxy::service;
use crate::support::{Client, ENGINES, Origin, Proxy};

#[test]
fn requests_go_by_host_path_method_field_and_query() {
    let names = ["host", "wild", "path", "post", "field", "query", "any"];
    let origins: Vec<_> = names.into_iter().map(Origin::text).collect();
    let services: Vec<_> = names
        .iter()
        .zip(&origins)
        .map(|(name, origin)| format!("[services.{name}]\nendpoints = [\"{}\"]\n", origin.address))
        .collect();
    let routes = "[[routes]]\nname = \"any\"\nservice = \"any\"\n\
        [[routes]]\nname = \"host\"\nservice = \"host\"\nhosts = [\"a.test\"]\n\
        [[routes]]\nname = \"wild\"\nservice = \"wild\"\nhosts = [\"*.test\"]\n\
        [[routes]]\nname = \"path\"\nservice = \"path\"\nhosts = [\"a.test\"]\npaths = [{ prefix = \"/p\" }]\n\
        [[routes]]\nname = \"post\"\nservice = \"post\"\nhosts = [\"a.test\"]\nmethods = [\"POST\"]\n\
        [[routes]]\nname = \"field\"\nservice = \"field\"\nheaders = [{ name = \"X-Canary\", regex = \"^y\" }]\n\
        [[routes]]\nname = \"query\"\nservice = \"query\"\nquery = [{ name = \"v\", value = \"2\" }]\n";
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &(routes.to_owned() + &services.concat()));
        let mut client = Client::connect(proxy.address);
        for (request, expected) in [
            ("GET / HTTP/1.1\r\nHost: A.test:80\r\n", "host"),
            ("GET / HTTP/1.1\r\nHost: b.c.test\r\n", "wild"),
            ("GET /p/x HTTP/1.1\r\nHost: a.test\r\n", "path"),
            ("GET /x/../p HTTP/1.1\r\nHost: a.test\r\n", "path"),
            ("GET /px HTTP/1.1\r\nHost: a.test\r\n", "host"),
            ("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n", "post"),
            ("GET / HTTP/1.1\r\nHost: other\r\nx-canary: yes\r\n", "field"),
            ("GET /?v=2 HTTP/1.1\r\nHost: other\r\n", "query"),
            ("GET / HTTP/1.1\r\nHost: other\r\n", "any"),
            ("GET http://a.test/p HTTP/1.1\r\nHost: a.test\r\n", "path"),
            ("OPTIONS * HTTP/1.1\r\nHost: other\r\n", "any"),
            ("PURGE / HTTP/1.1\r\nHost: other\r\n", "any"),
        ] {
            client.send(format!("{request}\r\n"));
            assert_eq!(client.response("GET").text(), expected, "{engine} {request}");
        }
        assert_eq!(origins[6].requests().last().unwrap().line(), "PURGE / HTTP/1.1");
        assert!(origins[6].requests().iter().any(|request| request.line() == "OPTIONS * HTTP/1.1"));
    }
}

#[test]
fn filters_rewrite_redirect_and_edit() {
    for engine in ENGINES {
        let origin = Origin::start(|_, stream| {
            crate::support::origin::write(
                stream,
                b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nServer: secret\r\nX-Powered-By: x\r\n\r\nx",
            )
        });
        let rest = format!(
            "[[routes]]\nname = \"api\"\nservice = \"s\"\npaths = [{{ prefix = \"/api\" }}]\n\
             filters = [{{ strip_prefix = \"/api\" }}, {{ add_prefix = \"/v1\" }},\n\
               {{ request_headers = {{ remove = [\"X-Secret\"], set = {{ X-Team = \"blue\" }} }} }},\n\
               {{ response_headers = {{ remove = [\"server\", \"x-powered-by\"], add = {{ X-Frame-Options = \"DENY\" }} }} }}]\n\
             [[routes]]\nname = \"old\"\npaths = [{{ prefix = \"/old\" }}]\nfilters = [{{ redirect = {{ scheme = \"https\", status = 308 }} }}]\n\
             [services.s]\nendpoints = [\"{}\"]\n",
            origin.address
        );
        let proxy = Proxy::start(engine, &rest);
        let mut client = Client::connect(proxy.address);
        client.send("GET /api/a?b HTTP/1.1\r\nHost: a\r\nX-Secret: 1\r\nX-Team: red\r\n\r\n");
        let response = client.response("GET");
        assert_eq!((response.field("server"), response.field("x-frame-options")), (None, Some("DENY")));
        let seen = origin.requests().pop().unwrap();
        assert_eq!(seen.line(), "GET /v1/a?b HTTP/1.1");
        assert_eq!((seen.field("x-secret"), seen.field("x-team")), (None, Some("blue")));
        assert_eq!(seen.head.matches("X-Team").count(), 1);
        client.send("POST /old/x?y HTTP/1.1\r\nHost: a.test:80\r\nContent-Length: 4\r\n\r\nbody");
        let response = client.response("POST");
        assert_eq!((response.status, response.field("location")), (308, Some("https://a.test/old/x?y")), "{engine}");
        // The body was drained: the connection goes on with the next request.
        assert_eq!(client.get("/api").status, 200);
    }
}

#[test]
fn a_filter_answers_with_what_is_written() {
    for engine in ENGINES {
        let rest = "[[routes]]\nname = \"robots\"\npaths = [{ exact = \"/robots.txt\" }]\n\
             filters = [{ respond = { status = 200, headers = { X-A = \"1\" }, body = \"all\\n\" } }]\n\
             [[routes]]\nname = \"empty\"\npaths = [{ exact = \"/empty\" }]\nfilters = [{ respond = { status = 204 } }]\n";
        let proxy = Proxy::start(engine, rest);
        let mut client = Client::connect(proxy.address);
        client.send("POST /robots.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
        let response = client.response("POST");
        assert_eq!((response.status, response.text(), response.field("x-a")), (200, "all\n", Some("1")));
        assert_eq!(response.field("content-type"), Some("text/plain; charset=utf-8"), "{engine}");
        client.send("HEAD /robots.txt HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.response("HEAD");
        assert_eq!((response.status, response.field("content-length")), (200, Some("4")));
        let response = client.get("/empty");
        assert_eq!((response.status, response.field("content-length")), (204, None), "{engine}");
        assert_eq!(client.get("/none").status, 404, "the connection goes on");
    }
}

#[test]
fn upstreams_are_told_who_the_client_is() {
    for engine in ENGINES {
        let origin = Origin::text("x");
        let spoofed = "GET / HTTP/1.1\r\nHost: site.test\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nX-Request-ID: abc\r\n\r\n";
        let proxy = Proxy::to(engine, &[origin.address]);
        Client::connect(proxy.address).send(spoofed).response("GET");
        let seen = origin.requests().pop().unwrap();
        assert_eq!(seen.field("host"), Some("site.test"));
        assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
        assert_eq!(seen.field("x-forwarded-host"), Some("site.test"));
        assert_eq!(seen.field("x-forwarded-port"), Some(proxy.address.port().to_string().as_str()));
        assert_eq!(seen.field("x-real-ip"), Some("127.0.0.1"));
        assert_eq!(seen.field("via"), Some("1.1 ringress"));
        assert_eq!(seen.field("forwarded"), None);
        assert_eq!(seen.field("x-request-id").unwrap().len(), 32);
        let id = proxy.line("/")["request_id"].as_str().unwrap().to_owned();
        assert_eq!(seen.field("x-request-id"), Some(id.as_str()));

        let web = "trusted_proxies = [\"127.0.0.0/8\"]\nforwarded = true\nvia = false";
        let proxy = Proxy::start_with(engine, web, &service(&[origin.address], "host = \"app.internal\""));
        Client::connect(proxy.address).send(spoofed).response("GET");
        let seen = origin.requests().pop().unwrap();
        assert_eq!(seen.field("host"), Some("app.internal"));
        assert_eq!(seen.field("x-forwarded-for"), Some("1.1.1.1, 127.0.0.1"));
        assert_eq!(seen.field("x-forwarded-proto"), Some("https"));
        assert_eq!(seen.field("x-request-id"), Some("abc"));
        assert_eq!((seen.field("x-real-ip"), seen.field("x-forwarded-port")), (Some("1.1.1.1"), Some("443")));
        assert_eq!(seen.field("forwarded"), Some("for=1.1.1.1;proto=https;host=\"site.test\""));
        assert_eq!(seen.field("via"), None);
        assert_eq!(proxy.line("/")["client"], "1.1.1.1", "the log tells the client behind the trusted proxy");
    }
}

#[test]
fn hosts_may_be_closed_and_paths_may_begin_with_any_text() {
    let names = ["own", "begins", "longest", "one", "any"];
    let origins: Vec<_> = names.into_iter().map(Origin::text).collect();
    let services: Vec<_> = names
        .iter()
        .zip(&origins)
        .map(|(name, origin)| format!("[services.{name}]\nendpoints = [\"{}\"]\n", origin.address))
        .collect();
    let routes = "[[routes]]\nname = \"own\"\nservice = \"own\"\nhosts = [\"shop.test\"]\nclosed = true\npaths = [{ exact = \"/own\" }]\n\
        [[routes]]\nname = \"begins\"\nservice = \"begins\"\nhosts = [\"shop.test\"]\npaths = [{ starts_with = \"/be\" }]\n\
        [[routes]]\nname = \"short\"\nservice = \"any\"\nhosts = [\"re.test\"]\norder = 1\npaths = [{ regex = \"(?i)^/a\" }]\n\
        [[routes]]\nname = \"longest\"\nservice = \"longest\"\nhosts = [\"re.test\"]\norder = 2\npaths = [{ regex = \"(?i)^/a/long\" }]\n\
        [[routes]]\nname = \"one\"\nservice = \"one\"\nhosts = [\"*.one.test\"]\nhost_labels = \"one\"\n\
        [[routes]]\nname = \"any\"\nservice = \"any\"\n";
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &(routes.to_owned() + &services.concat()));
        let mut client = Client::connect(proxy.address);
        for (host, target, status, expected) in [
            ("shop.test", "/own", 200, "own"),
            ("shop.test", "/bees", 200, "begins"),
            ("shop.test", "/other", 404, ""),
            ("re.test", "/A/LONGER", 200, "longest"),
            ("re.test", "/a/l", 200, "any"),
            ("x.one.test", "/", 200, "one"),
            ("x.y.one.test", "/", 200, "any"),
            ("else.test", "/own", 200, "any"),
        ] {
            client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            let response = client.response("GET");
            assert_eq!(response.status, status, "{engine} {host}{target}");
            assert!(status != 200 || response.text() == expected, "{engine} {host}{target}: {}", response.text());
        }
    }
}

#[test]
fn a_backup_gets_requests_only_where_no_other_takes_any() {
    let (first, backup) = (Origin::text("first"), Origin::text("backup"));
    let nobody = crate::support::proxy::free_address();
    let rest = |first: std::net::SocketAddr, balance: &str| {
        format!(
            "[services.s]\nbalance = \"{balance}\"\nendpoints = [{{ address = \"{}\", backup = true }}, \"{first}\"]\n\
             [[routes]]\nname = \"all\"\nservice = \"s\"\n",
            backup.address
        )
    };
    for engine in ENGINES {
        for balance in ["round_robin", "least_requests", "random", "hash:client_ip"] {
            let proxy = Proxy::start(engine, &rest(first.address, balance));
            let mut client = Client::connect(proxy.address);
            assert!((0..10).all(|_| client.get("/").body == b"first"), "{engine}, {balance}");
            let proxy = Proxy::start(engine, &rest(nobody, balance));
            let mut client = Client::connect(proxy.address);
            assert!((0..10).all(|_| client.get("/").body == b"backup"), "{engine}, {balance}");
        }
    }
}
