//! Clients that stay with their endpoint, by cookies that curl keeps or by a field.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Told, curl, everywhere};
use crate::support::origin::{reply, write};
use crate::support::{ENGINES, Origin, Proxy, eventually};

/// Upstreams that answer with their number.
fn three() -> [Origin; 3] {
    [Origin::text("0"), Origin::text("1"), Origin::text("2")]
}

fn service(name: &str, endpoints: &[SocketAddr], keys: &str) -> String {
    let list: Vec<_> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    format!("[services.{name}]\nendpoints = [{}]\n{keys}\n", list.join(", "))
}

/// What a browser would send back of the cookies of an answer.
fn cookie(told: &Told) -> String {
    let set = told.field("set-cookie").unwrap();
    format!("Cookie: other=1; {}", set.split(';').next().unwrap())
}

#[test]
fn a_client_stays_with_its_endpoint_by_a_cookie() {
    let origins = three();
    let addresses = origins.each_ref().map(|origin| origin.address);
    let keys = "sticky = { cookie = \"at\", path = \"/app\", same_site = \"lax\", max_age = \"1h\" }";
    let rest = service("s", &addresses, keys) + "[[routes]]\nname = \"all\"\nservice = \"s\"\n";
    everywhere(&rest, "", |proxy, version| {
        let first = curl(proxy.address, version, "/", &[]);
        let set = first.field("set-cookie").unwrap();
        assert!(set.ends_with("; Path=/app; Max-Age=3600; HttpOnly; SameSite=Lax"), "{set}");
        assert!(!set.contains("127.0.0.1"), "{set}");
        let cookie = cookie(&first);
        for _ in 0..6 {
            let again = curl(proxy.address, version, "/", &["-H", &cookie]);
            assert_eq!((&again.body, again.field("set-cookie")), (&first.body, None));
        }
        // One that nobody here has made is no cookie of ours.
        assert!(curl(proxy.address, version, "/", &["-H", "Cookie: at=7"]).field("set-cookie").is_some());
        let spread: std::collections::HashSet<_> =
            (0..9).map(|_| curl(proxy.address, version, "/", &[]).body).collect();
        assert_eq!(spread.len(), 3, "those who are new are spread");
    });
}

#[test]
fn a_client_whose_endpoint_is_gone_gets_another_and_goes_back_unless_that_is_not_wanted() {
    let origins = three();
    let addresses = origins.each_ref().map(|origin| origin.address);
    for changes in [false, true] {
        let is_dead = Arc::new(AtomicBool::new(false));
        let dead = Arc::clone(&is_dead);
        let failing = Origin::start(move |_, stream| {
            if dead.load(Ordering::Relaxed) {
                write(stream, b"HTTP/1.1 503 Gone\r\nContent-Length: 0\r\n\r\n")
            } else {
                reply(stream, b"failing")
            }
        });
        let rest = |endpoints: &[SocketAddr]| {
            let keys = format!("sticky = {{ change_on_failure = {changes} }}\nretry = {{ on_status = [503] }}");
            service("s", endpoints, &keys) + "[[routes]]\nname = \"all\"\nservice = \"s\"\n"
        };
        everywhere(&rest(&[failing.address]), "", |proxy, version| {
            is_dead.store(false, Ordering::Relaxed);
            let come = |what, endpoints: &[SocketAddr], body: &str, cookie: &[&str]| {
                proxy.rewrite("", &rest(endpoints));
                eventually(what, || curl(proxy.address, version, "/", cookie).body == body);
            };
            come("it answers", &[failing.address], "failing", &[]);
            let cookie = cookie(&curl(proxy.address, version, "/", &[]));
            let own = ["-H", &cookie];
            come("there is another", &[addresses[0], failing.address], "0", &[]);
            assert_eq!(curl(proxy.address, version, "/", &own).body, "failing");
            is_dead.store(true, Ordering::Relaxed);
            let told = curl(proxy.address, version, "/", &own);
            assert_eq!((&*told.body, told.field("set-cookie").is_some()), ("0", changes));
            // No endpoint of that address any more: the client gets a new one in any case.
            come("it is gone", &[addresses[1]], "1", &own);
            assert!(curl(proxy.address, version, "/", &own).field("set-cookie").is_some());
        });
    }
}

#[test]
fn an_endpoint_of_weight_0_keeps_those_who_are_there() {
    let origins = three();
    let addresses = origins.each_ref().map(|origin| origin.address);
    let rest = |weight: usize| {
        format!(
            "[services.s]\nendpoints = [{{ address = \"{}\", weight = {weight} }}, \"{}\"]\nsticky = {{}}\n\
             [[routes]]\nname = \"all\"\nservice = \"s\"\n",
            addresses[0], addresses[1]
        )
    };
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &rest(1));
        let told = std::iter::repeat_with(|| curl(proxy.address, "--http1.1", "/", &[]));
        let of_first = told.take(20).find(|told| told.body == "0").unwrap();
        proxy.rewrite("", &rest(0));
        eventually("the first gets nobody who is new", || {
            (0..4).all(|_| curl(proxy.address, "--http1.1", "/", &[]).body == "1")
        });
        let own = curl(proxy.address, "--http1.1", "/", &["-H", &cookie(&of_first)]);
        assert_eq!((&*own.body, own.field("set-cookie")), ("0", None));
    }
}

#[test]
fn a_cookie_decides_the_target_as_well() {
    let origins = three();
    let addresses = origins.each_ref().map(|origin| origin.address);
    let rest = service("old", &addresses[..2], "sticky = {}")
        + &service("new", &addresses[2..], "sticky = {}")
        + "[[routes]]\nname = \"all\"\ntargets = [{ service = \"old\", weight = 50 }, { service = \"new\", weight = 50 }]\n\
           canary = [{ header = { name = \"X-Canary\" }, target = 1 }]\n";
    everywhere(&rest, "", |proxy, version| {
        for _ in 0..4 {
            let first = curl(proxy.address, version, "/", &[]);
            let cookie = cookie(&first);
            for _ in 0..4 {
                assert_eq!(curl(proxy.address, version, "/", &["-H", &cookie]).body, first.body);
            }
            let ruled = curl(proxy.address, version, "/", &["-H", &cookie, "-H", "X-Canary: 1"]);
            assert_eq!(ruled.body, "2", "a rule goes before the cookie");
        }
    });
}

#[test]
fn a_place_on_the_ring_or_a_field_keep_a_client_too() {
    let origins = three();
    let addresses = origins.each_ref().map(|origin| origin.address);
    let rest = service("ring", &addresses, "sticky = { mode = \"balanced\", secure = true }")
        + &service("field", &addresses, "sticky = { header = \"X-Session\" }")
        + "[[routes]]\nname = \"ring\"\nservice = \"ring\"\n\
           [[routes]]\nname = \"field\"\npaths = [{ prefix = \"/field\" }]\nservice = \"field\"\n";
    everywhere(&rest, "", |proxy, version| {
        let first = curl(proxy.address, version, "/", &[]);
        assert!(first.field("set-cookie").unwrap().contains("; Secure"));
        let cookie = cookie(&first);
        let told = curl(proxy.address, version, "/field", &[]);
        let session = format!("X-Session: {}", told.field("x-session").unwrap());
        for _ in 0..4 {
            let again = curl(proxy.address, version, "/", &["-H", &cookie]);
            assert_eq!((&again.body, again.field("set-cookie")), (&first.body, None));
            let again = curl(proxy.address, version, "/field", &["-H", &session]);
            assert_eq!((&again.body, again.field("x-session")), (&told.body, None));
        }
        let spread: std::collections::HashSet<_> =
            (0..40).map(|_| curl(proxy.address, version, "/", &[]).body).collect();
        assert_eq!(spread.len(), 3, "those who are new are spread over the ring");
    });
}
