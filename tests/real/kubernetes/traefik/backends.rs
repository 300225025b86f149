//! Services: limits, breakers, shares, and what holds for all of them.

use super::{KEYS, World, backend, frontend, statuses};
use crate::kubernetes::named;
use crate::support::{Client, Origin, output};
use crate::tls::mirror;

#[test]
fn what_is_too_much_or_fails_is_answered_as_the_annotations_say() {
    let origin = mirror();
    let failing = Origin::start(|_, stream| {
        crate::support::origin::write(stream, b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    });
    let slow = Origin::start(|_, stream| {
        std::thread::sleep(std::time::Duration::from_secs(1));
        crate::support::origin::reply(stream, b"slow")
    });
    let breaker = [("circuit-breaker-expression", "ResponseCodeRatio(500, 600, 0, 600) > 0.5")];
    let rate = "extractorfunc: client.ip\nrateset:\n  slow: {period: 10m, average: 2, burst: 3}\n  fast: {period: 1, average: 100, burst: 100}\n";
    let by_field = "{extractorfunc: request.header.X-Key, rateset: {one: {period: 1h, average: 1, burst: 1}}}";
    let pages = "{odd: {status: [\"503\"], backend: pages.test/, query: \"/of/{status}.html\"}, no: {status: [\"500-502\"], backend: nowhere}}";
    let objects = backend("one", &[("buffering", "{maxrequestbodybytes: 10, memrequestbodybytes: 5}")], &[&origin])
        + &backend("bad", &breaker, &[&failing])
        + &backend("failing", &[], &[&failing])
        + &backend("slow", &[("max-conn-amount", "1"), ("max-conn-extractor-func", "request.host")], &[&slow])
        + &backend("typo", &[("traefik.backend.circuitbreaker", "NetworkErrors() > 1")], &[&origin])
        + &frontend("rate", &[("rate-limit", rate)], &[("rate.test", "/", "Prefix", "one")])
        + &frontend("field", &[("rate-limit", by_field)], &[("field.test", "/", "Prefix", "one")])
        + &frontend("none", &[("rate-limit", "extractorfunc: moon")], &[("none.test", "/", "Prefix", "one")])
        + &frontend("bad", &[], &[("bad.test", "/", "Prefix", "bad")])
        + &frontend("slow", &[], &[("slow.test", "/", "Prefix", "slow")])
        + &frontend("typo", &[], &[("typo.test", "/", "Prefix", "typo")])
        + &frontend("pages", &[], &[("pages.test", "/", "Prefix", "one")])
        + &frontend("errors", &[("error-pages", pages)], &[("errors.test", "/", "Prefix", "failing")]);
    let world = World::new("io_uring", KEYS, &objects);
    assert_eq!(statuses(&world, "rate.test", ["/"; 5]), [200, 200, 200, 429, 429]);
    let by = |key: &str| world.ask("field.test", "GET /", &[&format!("X-Key: {key}")]).status;
    assert_eq!([by("a"), by("a"), by("b")], [200, 429, 200]);
    assert_eq!([world.status("none.test", "/"), world.status("typo.test", "/")], [503, 503]);

    let post = |length: usize| {
        let head =
            format!("POST / HTTP/1.1\r\nHost: pages.test\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length));
        Client::connect(world.proxy.address).send(head).response("POST").status
    };
    assert_eq!([post(10), post(11)], [200, 413]);

    let answer = world.ask("errors.test", "GET /x", &[]);
    assert_eq!(answer.status, 503);
    assert!(answer.text().starts_with("GET /of/503.html HTTP/1.1"), "{}", answer.text());

    // One worker has seen at most 16 of these, each at least one of them: whichever it is, its breaker opens in the end.
    let before = failing.requests().len();
    for _ in 0..40 {
        assert_eq!(world.ask("bad.test", "GET /", &[]).status, 503);
    }
    assert!(failing.requests().len() - before < 40, "the breaker opened");
    crate::support::eventually("it is in the log", || {
        world.proxy.access_log().iter().any(|line| line["cause"] == "circuit_open")
    });

    let mut first = Client::connect(world.proxy.address);
    first.send("GET / HTTP/1.1\r\nHost: slow.test\r\n\r\n");
    crate::support::eventually("the first is there", || !slow.requests().is_empty());
    assert_eq!(world.status("slow.test", "/"), 429);
    assert_eq!(first.response("GET").status, 200);
}

#[test]
fn services_of_one_path_share_its_requests() {
    let origins: Vec<Origin> = ["old", "old", "old", "new"].into_iter().map(named).collect();
    let olds = [&origins[0], &origins[1], &origins[2]];
    let objects = backend("old", &[], &olds)
        + &backend("new", &[], &[&origins[3]])
        + &backend(
            "sticky",
            &[("affinity", "true"), ("load-balancer-method", "drr"), ("session-same-site", "lax")],
            &[&origins[0], &origins[3]],
        )
        + &backend(
            "named",
            &[
                ("affinity", "true"),
                ("session-cookie-name", "mine"),
                ("session-http-only", "true"),
                ("session-secure", "true"),
            ],
            &olds,
        )
        + &frontend("one", &[], &[("a.test", "/", "Prefix", "old")])
        + &frontend("two", &[], &[("a.test", "/", "Prefix", "new")])
        + &frontend(
            "weights",
            &[("service-weights", "new: 75%")],
            &[("b.test", "/", "Prefix", "old"), ("b.test", "/", "Prefix", "new")],
        )
        + &frontend(
            "wrong",
            &[("service-weights", "{new: 75%, old: 50%}")],
            &[("c.test", "/", "Prefix", "old"), ("c.test", "/", "Prefix", "new")],
        )
        + &frontend("sticky", &[], &[("d.test", "/x", "Prefix", "sticky")])
        + &frontend("named", &[], &[("e.test", "/", "Prefix", "named")]);
    let world = World::new("io_uring", KEYS, &objects);
    let share = |host: &str| {
        let new = (0..400).filter(|_| world.get(host, "/") == (200, "new".to_owned())).count();
        f64::from(u32::try_from(new).unwrap()) / 400.0
    };
    // One of four endpoints; each worker goes round by itself, from anywhere.
    let share_of_endpoints = share("a.test");
    assert!((share_of_endpoints - 0.25).abs() < 0.1, "{share_of_endpoints}");
    // Five deviations of 400 requests by chance.
    let share_of_weights = share("b.test");
    assert!((share_of_weights - 0.75).abs() < 0.11, "{share_of_weights}");
    assert_eq!(world.status("c.test", "/"), 503);

    let first = world.ask("d.test", "GET /x", &[]);
    let cookie = first.field("Set-Cookie").unwrap().to_owned();
    let name = output(
        std::process::Command::new("sh").arg("-c").arg("printf '_TRAEFIK_BACKEND_d.test/x' | sha1sum | cut -c1-5"),
    );
    assert!(cookie.starts_with(&format!("_{}=", name.trim())) && cookie.contains("SameSite=Lax"), "{cookie}");
    let mine = format!("Cookie: {}", cookie.split(';').next().unwrap());
    for _ in 0..20 {
        assert_eq!(world.ask("d.test", "GET /x", &[&mine]).text(), first.text());
    }
    let cookie = world.ask("e.test", "GET /", &[]).field("Set-Cookie").unwrap().to_owned();
    assert!(cookie.starts_with("mine=") && cookie.contains("HttpOnly") && cookie.contains("Secure"), "{cookie}");
}

#[test]
fn what_holds_for_every_service_of_the_cluster_is_checked_with_the_file() {
    let file = std::env::temp_dir().join(format!("ringress-cluster-service-{}.toml", std::process::id()));
    std::fs::write(&file, "[kubernetes.service]\nendpoints = [\"127.0.0.1:1\"]\nbalance = \"hash:nothing\"\n[listeners.web]\naddress = \":80\"\n").unwrap();
    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_ringress")).arg("check").arg(&file).output().unwrap();
    let told = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert_eq!(checked.status.code(), Some(1), "{told}");
    for expected in [
        ":2:1: kubernetes.service.endpoints: the cluster says where its pods are",
        ":3:1: kubernetes.service.balance: ",
    ] {
        assert!(told.contains(expected), "{told}");
    }
    let _ = std::fs::remove_file(file);
}
