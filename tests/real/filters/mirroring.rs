//! Copies of requests for another service.

use super::{curl, everywhere, mirror};
use crate::support::proxy::free_address;
use crate::support::{Origin, eventually};

#[test]
fn a_copy_has_all_that_the_request_has_and_its_answer_goes_nowhere() {
    let (origin, copied) = (mirror(), mirror());
    let rest = format!(
        "[services.s]\nendpoints = [\"{}\"]\n[services.copied]\nendpoints = [\"{}\"]\n\
         [[routes]]\nname = \"all\"\nservice = \"s\"\nfilters = [\n\
           {{ strip_prefix = \"/app\" }}, {{ request_headers = {{ set = {{ X-Own = \"{{method}}\" }} }} }},\n\
           {{ mirror = {{ service = \"copied\", body_max = \"10KiB\" }} }}]\n",
        origin.address, copied.address
    );
    everywhere(&rest, "", |proxy, version| {
        let seen = || copied.requests().len();
        let before = seen();
        let told = curl(proxy.address, version, "/app/x?y=z", &["-H", "Host: shop.example", "-H", "Cookie: a=b"]);
        assert!(told.body.starts_with("GET /x?y=z "), "{}", told.body);
        eventually("the copy is there", || seen() == before + 1);
        let copy = copied.requests().pop().unwrap();
        assert_eq!(copy.line(), "GET /x?y=z HTTP/1.1");
        let fields = ["host", "cookie", "x-own", "x-forwarded-for", "x-forwarded-prefix"].map(|name| copy.field(name));
        let expected = [Some("shop.example"), Some("a=b"), Some("GET"), Some("127.0.0.1"), Some("/app")];
        assert_eq!(fields, expected);
        let body = "b".repeat(10_000);
        assert_eq!(curl(proxy.address, version, "/app/post", &["--data-binary", &body]).status, 200);
        eventually("the copy has the body", || seen() == before + 2);
        let copy = copied.requests().pop().unwrap();
        assert_eq!((copy.line(), copy.body == body.as_bytes()), ("POST /post HTTP/1.1", true));
        let dropped = proxy.metric("ringress_copies_dropped_total");
        assert_eq!(curl(proxy.address, version, "/app/post", &["--data-binary", &body.repeat(2)]).status, 200);
        assert_eq!((seen(), proxy.metric("ringress_copies_dropped_total")), (before + 2, dropped + 1));
    });
}

#[test]
fn a_service_of_copies_that_is_dead_or_silent_costs_nobody_anything() {
    let (origin, nobody) = (Origin::text("own"), free_address());
    let silent = Origin::raw(|_, _, _| std::thread::sleep(std::time::Duration::from_secs(60)));
    let rest = format!(
        "[services.s]\nendpoints = [\"{}\"]\n[services.dead]\nendpoints = [\"{nobody}\"]\n\
         [services.silent]\nendpoints = [\"{}\"]\n\
         [[routes]]\nname = \"all\"\nservice = \"s\"\nfilters = [\n\
           {{ mirror = {{ service = \"dead\" }} }}, {{ mirror = {{ service = \"silent\", share = \"100%\" }} }}]\n",
        origin.address, silent.address
    );
    everywhere(&rest, "", |proxy, version| {
        for _ in 0..10 {
            assert_eq!(curl(proxy.address, version, "/", &[]).body, "own");
        }
        assert!(proxy.metric("ringress_copies_total") >= 20);
        let is_listed = |line: &serde_json::Value| line["service"] == "silent";
        assert!(!proxy.access_log().iter().any(is_listed), "a copy is no request of a client");
    });
}

#[test]
fn a_share_of_the_requests_is_copied_and_also_those_that_fail() {
    let (copied, nobody) = (mirror(), free_address());
    let rest = format!(
        "[services.s]\nendpoints = [\"{nobody}\"]\nejection = {{ failures = 0 }}\n[services.copied]\nendpoints = [\"{}\"]\n\
         [[routes]]\nname = \"all\"\nservice = \"s\"\nfilters = [{{ mirror = {{ service = \"copied\", share = \"1/4\" }} }}]\n",
        copied.address
    );
    for engine in crate::support::ENGINES {
        let before = copied.requests().len();
        let proxy = crate::support::Proxy::start(engine, &rest);
        let mut client = crate::support::Client::connect(proxy.address);
        for _ in 0..400 {
            assert_eq!(client.get("/").status, 502);
        }
        let copies = usize::try_from(proxy.metric("ringress_copies_total")).unwrap();
        // Five deviations of the binomial distribution around 100.
        assert!((56..=144).contains(&copies), "{engine}: {copies}");
        eventually("all copies are there", || copied.requests().len() - before == copies);
    }
}
