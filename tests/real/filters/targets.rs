//! Several targets of a route, named chains, and what a route says over its service.

use super::{curl, everywhere, mirror, served_by};
use crate::support::origin::write;
use crate::support::{Client, ENGINES, Origin, Proxy};

#[test]
fn requests_are_shared_by_weight_and_rules_go_before_it() {
    let (old, new) = (Origin::text("old"), mirror());
    let rest = format!(
        "[[routes]]\nname = \"shop\"\nfilters = [{{ response_headers = {{ set = {{ X-Of-Route = \"1\" }} }} }}]\n\
         targets = [{{ service = \"old\", weight = 80 }}, {{ service = \"new\", weight = 20, filters = [\n\
           {{ request_headers = {{ set = {{ X-Track = \"next\" }} }} }}, {{ response_headers = {{ set = {{ X-Of-Target = \"1\" }} }} }}] }},\n\
           {{ weight = 0, filters = [{{ respond = {{ status = 418 }} }}] }}]\n\
         canary = [{{ header = {{ name = \"X-Canary\", value = \"always\" }}, target = 1 }},\n\
           {{ header = {{ name = \"X-Canary\", value = \"never\" }}, target = 0 }}, {{ cookie = {{ name = \"tea\" }}, target = 2 }}]\n\
         [services.old]\nendpoints = [\"{}\"]\n[services.new]\nendpoints = [\"{}\"]\n",
        old.address, new.address
    );
    everywhere(&rest, "", |proxy, version| {
        let told = curl(proxy.address, version, "/", &["-H", "X-Canary: always"]);
        assert!(told.body.to_lowercase().contains("x-track: next"), "{}", told.body);
        assert_eq!((told.field("x-of-route"), told.field("x-of-target")), (Some("1"), Some("1")));
        let told = curl(proxy.address, version, "/", &["-H", "X-Canary: never", "-H", "Cookie: tea=1"]);
        assert_eq!((&*told.body, told.field("x-of-target")), ("old", None));
        assert_eq!(curl(proxy.address, version, "/", &["-H", "Cookie: tea=1"]).status, 418);
    });
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &rest);
        let mut client = Client::connect(proxy.address);
        let of_old = (0..500).filter(|_| client.get("/").body == b"old").count();
        // Five deviations of the binomial distribution.
        assert!((355..=445).contains(&of_old), "{engine}: {of_old} of 500");
        let metrics = proxy.metrics();
        assert!(metrics.contains("service=\"new\"") && metrics.contains("service=\"old\""), "{metrics}");
    }
}

#[test]
fn chains_are_of_routes_and_of_listeners() {
    let origin = mirror();
    let rest = "[filters.inside]\nchain = [{ allow = [\"203.0.113.0/24\"] }, { response_headers = { set = { X-Inside = \"1\" } } }]\n\
        [filters.all]\nchain = [{ deny = [\"198.51.100.0/24\"] }, { response_headers = { set = { X-All = \"{path}\" } } }]\n\
        [[routes]]\nname = \"in\"\npaths = [{ prefix = \"/in\" }]\nuse = [\"inside\"]\nservice = \"s\"\nfilters = [{ strip_prefix = \"/in\" }]\n\
        [[routes]]\nname = \"out\"\npaths = [{ prefix = \"/out\" }]\nservice = \"s\"\naccess_log = false\n"
        .to_owned()
        + &served_by(&origin);
    everywhere(&rest, "trusted_proxies = [\"127.0.0.0/8\"]\nuse = [\"all\"]\n", |proxy, version| {
        let ask = |target: &str, client: &str| {
            curl(proxy.address, version, target, &["-H", &format!("X-Forwarded-For: {client}")])
        };
        let told = ask("/in/x", "203.0.113.1");
        assert_eq!((told.status, told.field("x-inside"), told.field("x-all")), (200, Some("1"), Some("/in/x")));
        assert!(told.body.starts_with("GET /x "), "{}", told.body);
        let told = ask("/in/x", "192.0.2.1");
        assert_eq!((told.status, told.field("x-inside"), told.field("x-all")), (403, Some("1"), Some("/in/x")));
        let told = ask("/out", "192.0.2.1");
        assert_eq!((told.status, told.field("x-inside"), told.field("x-all")), (200, None, Some("/out")));
        assert_eq!(ask("/out", "198.51.100.7").status, 403);
        let told = ask("/nowhere", "192.0.2.1");
        assert_eq!(
            (told.status, told.field("x-all")),
            (404, Some("/nowhere")),
            "a listener's chain holds where no route does"
        );
        assert_eq!(ask("/nowhere", "198.51.100.7").status, 403);
    });
}

#[test]
fn a_route_has_patience_of_its_own() {
    let origin = Origin::start(|request, stream| {
        std::thread::sleep(std::time::Duration::from_millis(if request.target().contains("slow") { 3_000 } else { 0 }));
        write(stream, b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    });
    let second = Origin::text("second");
    for engine in ENGINES {
        let rest = format!(
            "[[routes]]\nname = \"quick\"\npaths = [{{ prefix = \"/quick\" }}]\nservice = \"s\"\ntimeouts = {{ header = \"300ms\" }}\n\
             [[routes]]\nname = \"again\"\npaths = [{{ prefix = \"/again\" }}]\nservice = \"both\"\nretry = {{ on_status = [503] }}\n\
             [[routes]]\nname = \"small\"\npaths = [{{ prefix = \"/small\" }}]\nservice = \"s\"\nbody = {{ max = \"3B\" }}\naccess_log = false\n\
             [[routes]]\nname = \"as-it-is\"\nservice = \"s\"\n\
             [services.s]\nendpoints = [\"{0}\"]\n[services.both]\nendpoints = [\"{0}\", \"{1}\"]\n",
            origin.address, second.address
        );
        let proxy = Proxy::start(engine, &rest);
        let mut client = Client::connect(proxy.address);
        assert_eq!(client.get("/quick/slow").status, 504);
        assert_eq!(client.get("/slow").status, 503, "the service has its own");
        for _ in 0..4 {
            assert_eq!(client.get("/again").body, b"second");
        }
        for (target, expected) in [("/small", 413), ("/other", 503)] {
            let mut client = Client::connect(proxy.address);
            client.send(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"));
            assert_eq!(client.response("POST").status, expected);
        }
        assert_eq!(proxy.line("/other")["route"], "as-it-is");
        assert!(proxy.access_log().iter().all(|line| line["target"] != "/small"), "{engine}");
        let is_counted = |line: &str| line.starts_with("ringress_requests_total") && line.contains("route=\"small\"");
        assert!(proxy.metrics().lines().any(is_counted), "it is counted all the same");
    }
}
