//! Who may come in: passwords, keys, and the word of another service. Where nobody can say, nobody may.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{curl, everywhere, mirror, route, served_by};
use crate::support::origin::{After, reply, write};
use crate::support::proxy::free_address;
use crate::support::{Client, ENGINES, Origin, Proxy, eventually, output, tool};

#[test]
fn passwords_that_htpasswd_wrote_open_and_a_changed_file_is_taken_up() {
    let origin = mirror();
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &route("{ respond = { status = 204 } }", &origin));
        let file = proxy.folder.join("users");
        for (flag, user) in [("-cbB", "bcrypt"), ("-bm", "apr1"), ("-b5", "sha512"), ("-b2", "sha256"), ("-bs", "sha1")]
        {
            output(tool("htpasswd", "apache2-utils").arg(flag).arg(&file).args([user, "right"]));
        }
        let filter = "{ basic_auth = { file = \"users\", realm = \"inner\", user_header = \"X-User\" } }";
        proxy.rewrite("", &route(filter, &origin));
        eventually("it asks for a password", || Client::connect(proxy.address).get("/").status == 401);
        for version in super::VERSIONS {
            for user in ["bcrypt", "apr1", "sha512", "sha256", "sha1"] {
                // Twice: the second is remembered.
                for _ in 0..2 {
                    let told =
                        curl(proxy.address, version, "/", &["-u", &format!("{user}:right"), "-H", "X-User: forged"]);
                    let seen = told.body.to_lowercase();
                    assert!(told.status == 200 && seen.contains(&format!("x-user: {user}\r\n")), "{user}: {seen}");
                    assert!(!seen.contains("authorization") && !seen.contains("forged"), "{seen}");
                }
                let refused = curl(proxy.address, version, "/", &["-u", &format!("{user}:wrong")]);
                assert_eq!(
                    (refused.status, refused.field("www-authenticate")),
                    (401, Some("Basic realm=\"inner\", charset=\"UTF-8\""))
                );
                assert!(refused.field("proxy-status").unwrap().contains("auth_required:password"));
            }
            assert_eq!(curl(proxy.address, version, "/", &["-u", "nobody:right"]).status, 401);
        }
        output(tool("htpasswd", "apache2-utils").arg("-cbB").arg(&file).args(["new", "other"]));
        eventually("the new user may", || curl(proxy.address, "--http1.1", "/", &["-u", "new:other"]).status == 200);
        assert_eq!(
            curl(proxy.address, "--http1.1", "/", &["-u", "bcrypt:right"]).status,
            401,
            "what was remembered is of a hash"
        );
    }
}

#[test]
fn a_storm_of_logins_is_refused_and_holds_nobody_else() {
    let origin = mirror();
    let hash = output(tool("htpasswd", "apache2-utils").args(["-nbBC", "12", "me", "right"]));
    let rest = format!(
        "[[routes]]\nname = \"in\"\npaths = [{{ prefix = \"/in\" }}]\nservice = \"s\"\nfilters = [{{ basic_auth = {{ users = ['{}'] }} }}]\n\
         [[routes]]\nname = \"free\"\nservice = \"s\"\n{}",
        hash.trim(),
        served_by(&origin)
    );
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &rest);
        let mut storm: Vec<_> = (0..200).map(|_| Client::connect(proxy.address)).collect();
        for (number, client) in storm.iter_mut().enumerate() {
            // `me:` and another wrong password for each.
            let letters = [b'A' + u8::try_from(number / 16).unwrap(), b'A' + u8::try_from(number % 16).unwrap()];
            let wrong = String::from_utf8_lossy(&letters).into_owned();
            client.send(format!("GET /in HTTP/1.1\r\nHost: a\r\nAuthorization: Basic bWU6{wrong}AA\r\n\r\n"));
        }
        // A quarter of a second each: computed on a worker, these would have it wait for half a minute.
        let mut other = Client::connect(proxy.address);
        for _ in 0..50 {
            assert_eq!(other.get("/free").status, 200);
        }
        let line = |proxy: &Proxy| proxy.access_log().iter().filter(|line| line["status"] == 401).count();
        assert!(line(&proxy) < 100, "{engine}: the others did not wait for the storm: {}", line(&proxy));
        let refused = storm.iter_mut().rev().find_map(|client| {
            let response = client.response("GET");
            (response.status == 503).then(|| response.field("proxy-status").unwrap().to_owned())
        });
        assert!(refused.unwrap().contains("auth_unavailable:password"), "{engine}");
    }
}

#[test]
fn many_who_show_the_same_password_at_once_wait_for_one_verification() {
    let origin = mirror();
    let hash = output(tool("htpasswd", "apache2-utils").args(["-nbBC", "11", "me", "right"]));
    let route = route(&format!("{{ basic_auth = {{ users = ['{}'] }} }}", hash.trim()), &origin);
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &route);
        let mut clients: Vec<_> = (0..100).map(|_| Client::connect(proxy.address)).collect();
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic bWU6cmlnaHQ=\r\n\r\n");
        }
        assert!(clients.iter_mut().all(|client| client.response("GET").status == 200), "{engine}");
    }
}

#[test]
fn keys_open_and_are_told_by_name() {
    let origin = mirror();
    let filter = "{ api_key = { keys = { team-a = \"0123456789abcdef\" }, name_header = \"X-Client\" } }";
    everywhere(&route(filter, &origin), "", |proxy, version| {
        let told = curl(proxy.address, version, "/", &["-H", "X-API-Key: 0123456789abcdef", "-H", "X-Client: forged"]);
        let seen = told.body.to_lowercase();
        assert!(told.status == 200 && seen.contains("x-client: team-a") && !seen.contains("forged"), "{seen}");
        assert!(!seen.contains("0123456789abcdef"), "{seen}");
        let refused = curl(proxy.address, version, "/", &["-H", "X-API-Key: 0123456789abcdeg"]);
        assert_eq!(refused.status, 401);
        assert!(refused.field("proxy-status").unwrap().contains("auth_required:key"));
    });
}

/// A service that says who may, by `X-Token`.
fn authority() -> Origin {
    Origin::start(|request, stream| {
        match request.field("x-token") {
        Some("good") => write(
            stream,
            b"HTTP/1.1 200 OK\r\nX-User: alice\r\nX-Other: not-wanted\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok",
        ),
        Some("away") => write(stream, b"HTTP/1.1 302 Found\r\nLocation: https://login.test/\r\nContent-Length: 0\r\n\r\n"),
        Some("broken") => write(stream, b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"),
        Some("nonsense") => {
            write(stream, b"what?\r\n\r\n");
            After::Close
        }
        Some("closes") => After::Close,
        Some("forbidden") => write(stream, b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/x\r\nContent-Length: 6\r\n\r\nno way"),
        Some(_) | None => write(stream, b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Token\r\nContent-Length: 4\r\n\r\nwho?"),
    }
    })
}

fn forwarded(origin: &Origin, authority: &str, more: &str) -> String {
    let filter = format!(
        "{{ forward_auth = {{ service = \"auth\", path = \"/check?of={{host}}\", response_headers = [\"X-User\"] {more} }} }}"
    );
    route(&filter, origin)
        + &format!(
            "[services.auth]\nendpoints = [\"{authority}\"]\ntimeouts = {{ header = \"500ms\", connect = \"500ms\" }}\nretry = {{ attempts = 0 }}\n"
        )
}

#[test]
fn the_service_that_says_who_may_gets_the_body_where_it_asks_for_it() {
    let origin = Origin::start(|request, stream| crate::support::origin::reply(stream, &request.body));
    let authority = Origin::start(|request, stream| {
        let is_right = request.body == b"open sesame" || request.body.len() == 60_000;
        let status = if is_right { "200 OK" } else { "403 Forbidden" };
        write(stream, format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes())
    });
    let config = forwarded(&origin, &authority.address.to_string(), ", body = \"64KiB\"");
    everywhere(&config, "", |proxy, version| {
        let before = origin.requests().len();
        for more in [&[][..], &["-H", "Transfer-Encoding: chunked"], &["-H", "Expect: 100-continue"]] {
            let ask = |body: &str| curl(proxy.address, version, "/", &[&["-d", body], more].concat());
            let told = ask("open sesame");
            assert_eq!(told.status, 200, "{version}, {more:?}");
            assert_eq!(told.body, "open sesame", "{version}, {more:?}: the upstream gets it too");
            assert_eq!(ask("close").status, 403, "{version}, {more:?}");
            assert_eq!(ask(&"x".repeat(60_000)).status, 200, "{version}, {more:?}");
            assert_eq!(ask(&"x".repeat(65_537)).status, 413, "{version}, {more:?}");
        }
        assert_eq!(curl(proxy.address, version, "/", &[]).status, 403, "{version}: no body is asked about too");
        assert_eq!(origin.requests().len() - before, 6, "{version}: nobody else came through");
        let asked = authority.requests().pop().unwrap();
        assert_eq!((asked.line(), asked.field("content-length")), ("GET /check?of=127.0.0.1 HTTP/1.1", None));
    });
}

#[test]
fn another_service_says_who_may() {
    let (origin, authority) = (mirror(), authority());
    everywhere(&forwarded(&origin, &authority.address.to_string(), ""), "", |proxy, version| {
        let ask = |token: &str| {
            let token = format!("X-Token: {token}");
            curl(
                proxy.address,
                version,
                "/a?b",
                &["-X", "POST", "-d", "body", "-H", &token, "-H", "X-User: forged", "-H", "X-Original-URL: forged"],
            )
        };
        let told = ask("good");
        let seen = told.body.to_lowercase();
        assert!(
            told.status == 200 && seen.contains("x-user: alice\r\n") && !seen.contains("forged\r\nx-user"),
            "{seen}"
        );
        assert!(!seen.contains("x-user: forged") && !seen.contains("not-wanted"), "{seen}");
        assert_eq!(told.all("set-cookie"), ["a=1", "b=2"]);
        let asked = authority.requests().pop().unwrap();
        assert_eq!(asked.line(), "GET /check?of=127.0.0.1 HTTP/1.1");
        let url = format!("http://{}/a?b", proxy.address);
        assert_eq!((asked.field("x-original-url"), asked.field("x-forwarded-method")), (Some(&*url), Some("POST")));
        assert_eq!((asked.field("x-forwarded-uri"), asked.field("content-length")), (Some("/a?b"), None));
        let refused = ask("bad");
        assert_eq!((refused.status, refused.field("www-authenticate"), &*refused.body), (401, Some("Token"), "who?"));
        assert!(refused.field("proxy-status").unwrap().contains("auth_required:service"));
        let refused = ask("forbidden");
        assert_eq!((refused.status, refused.field("content-type"), &*refused.body), (403, Some("text/x"), "no way"));
        let away = ask("away");
        assert_eq!((away.status, away.field("location")), (302, Some("https://login.test/")));
    });
    let count = origin.requests().len();
    assert_eq!(count, 4, "only those who may were passed on");
}

#[test]
fn where_that_service_cannot_say_nobody_gets_in() {
    let (origin, authority) = (mirror(), authority());
    let slow = Origin::start(|_, stream| {
        std::thread::sleep(std::time::Duration::from_secs(3));
        reply(stream, b"late")
    });
    let dead = free_address().to_string();
    for (address, tokens, cause) in [
        (authority.address.to_string(), &["broken"][..], "auth_unavailable:answer"),
        (authority.address.to_string(), &["nonsense", "closes"], "auth_unavailable:service"),
        (dead, &["good"], "auth_unavailable:service"),
        (slow.address.to_string(), &["good"], "auth_unavailable:service"),
    ] {
        for engine in ENGINES {
            let proxy = Proxy::start(engine, &forwarded(&origin, &address, ""));
            for token in tokens {
                let told = curl(proxy.address, "--http1.1", "/", &["-H", &format!("X-Token: {token}")]);
                let status = told.field("proxy-status").unwrap();
                assert!(told.status == 503 && status.contains(cause), "{engine} {token}: {} {status}", told.status);
            }
        }
    }
    assert!(origin.requests().is_empty(), "nobody got in");
}

#[test]
fn who_must_sign_in_is_sent_there_with_what_was_asked_for() {
    let (origin, authority) = (mirror(), authority());
    let more = ", sign_in = \"https://login.test/start?lang=en\"";
    everywhere(&forwarded(&origin, &authority.address.to_string(), more), "", |proxy, version| {
        let told = curl(proxy.address, version, "/a?b=c&d", &["-H", "Host: app.test"]);
        let location = "https://login.test/start?lang=en&rd=http://app.test%2Fa%3Fb%3Dc%26d";
        assert_eq!((told.status, told.field("location")), (302, Some(location)));
    });
}

#[test]
fn a_request_waits_for_its_answer_with_its_body_unread() {
    let (origin, authority) = (mirror(), authority());
    let bytes = Arc::new(AtomicUsize::new(0));
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &forwarded(&origin, &authority.address.to_string(), ""));
        let mut client = Client::connect(proxy.address);
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nX-Token: good\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n");
        assert!(client.head().starts_with("HTTP/1.1 100"), "{engine}");
        client.send("hello world");
        assert_eq!(client.response("POST").status, 200);
        bytes.fetch_add(origin.requests().last().unwrap().body.len(), Ordering::Relaxed);
    }
    assert_eq!(bytes.load(Ordering::Relaxed), 22);
}

#[test]
fn filters_behind_one_that_lets_in_see_what_it_found_and_not_what_a_client_says() {
    let (origin, authority) = (mirror(), authority());
    let filters = "{ basic_auth = { users = [\"alice:{PLAIN}a\", \"bob:{PLAIN}b\"], user_header = \"X-User\" } },\n\
        { rate_limit = { rate = \"3/h\", key = \"header:X-User\" } }, { forward_auth = { service = \"auth\", set = { X-Forwarded-Uri = \"/set\" } } },\n\
        { request_headers = { set = { X-Of = \"{header:X-User}\" } } }";
    let rest = route(filters, &origin) + &format!("[services.auth]\nendpoints = [\"{}\"]\n", authority.address);
    everywhere(&rest, "", |proxy, version| {
        let ask = |who: &str, forged: &str| {
            let forged = format!("X-User: {forged}");
            let fields = ["-u", who, "-H", &forged, "-H", "X-Token: good", "-H", "Client-Cert: :Zm9yZ2Vk:"];
            curl(proxy.address, version, "/", &fields)
        };
        let user = if version == super::VERSIONS[0] { ("alice:a", "alice") } else { ("bob:b", "bob") };
        for turn in 0..3 {
            let told = ask(user.0, &format!("forged-{turn}"));
            assert_eq!(told.status, 200, "{version} {turn}");
            assert!(told.body.to_lowercase().contains(&format!("x-of: {}\r\n", user.1)), "{}", told.body);
            let asked = authority.requests().pop().unwrap();
            assert_eq!((asked.field("x-user"), asked.field("authorization")), (Some(user.1), None));
            assert_eq!((asked.field("client-cert"), asked.field("x-forwarded-uri")), (None, Some("/set")));
            assert_eq!(asked.head.to_lowercase().matches("x-forwarded-uri").count(), 1);
        }
        assert_eq!(ask(user.0, "another").status, 429, "{version}: another name is no other user");
    });
}

#[test]
fn a_password_that_costs_too_much_is_not_looked_at() {
    let origin = mirror();
    let hash = output(tool("htpasswd", "apache2-utils").args(["-nb5", "me", "right"]));
    let rest = route(&format!("{{ basic_auth = {{ users = ['{}'] }} }}", hash.trim()), &origin);
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &rest);
        let long = format!("me:{}", "x".repeat(20_000));
        for _ in 0..20 {
            assert_eq!(curl(proxy.address, "--http1.1", "/", &["-u", &long]).status, 401, "{engine}");
        }
        assert_eq!(curl(proxy.address, "--http1.1", "/", &["-u", "me:right"]).status, 200, "{engine}");
    }
}

#[test]
fn one_of_several_rules_lets_a_request_pass() {
    let origin = mirror();
    // A fast hash is compared at once, a slow one on another thread, and a service is asked.
    let auth = Origin::start(|request, stream| {
        let is_known = request.field("x-word") == Some("sesame");
        write(
            stream,
            if is_known { b"HTTP/1.1 204 No\r\n\r\n" } else { b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n" },
        )
    });
    let slow = output(tool("htpasswd", "apache2-utils").args(["-bnBC4", "slow", "slow"]));
    let rest = format!(
        "[services.auth]\nendpoints = [\"{}\"]\n{}\n[[routes]]\nname = \"all\"\nservice = \"s\"\nfilters = [{{ satisfy = {{ any = [\n\
           {{ allow = [\"203.0.113.0/24\"] }},\n\
           {{ basic_auth = {{ users = [\"{}\"], realm = \"first\" }} }},\n\
           {{ basic_auth = {{ users = [\"fast:{{PLAIN}}fast\"], realm = \"second\", user_header = \"X-User\" }} }},\n\
           {{ forward_auth = {{ service = \"auth\" }} }}] }} }}, {{ response_headers = {{ set = {{ X-Behind = \"1\" }} }} }}]\n",
        auth.address,
        served_by(&origin),
        slow.trim()
    );
    everywhere(&rest, "trusted_proxies = [\"127.0.0.0/8\"]\n", |proxy, version| {
        let ask = |arguments: &[&str]| curl(proxy.address, version, "/", arguments);
        let told = ask(&["-H", "X-Forwarded-For: 203.0.113.9", "-H", "X-User: forged"]);
        assert!(told.status == 200 && !told.body.contains("forged"), "whoever lets it pass: {}", told.body);
        assert_eq!(ask(&["-u", "slow:slow"]).status, 200);
        let told = ask(&["-u", "fast:fast", "-H", "X-User: forged"]);
        assert!(told.body.to_lowercase().contains("x-user: fast"), "{}", told.body);
        assert_eq!(ask(&["-H", "X-Word: sesame"]).field("x-behind"), Some("1"));
        let refused = ask(&["-H", "X-User: forged", "-u", "slow:wrong"]);
        assert_eq!((refused.status, refused.field("www-authenticate").unwrap().contains("first")), (401, true));
        assert!(refused.field("proxy-status").unwrap().contains("auth_required"));
        let told = ask(&["-H", "X-User: forged", "-H", "X-Word: sesame"]);
        assert!(!told.body.contains("forged"), "{}", told.body);
    });
}
