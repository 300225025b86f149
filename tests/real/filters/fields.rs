//! What filters make of addresses, paths and fields.

use super::{curl, everywhere, mirror, served_by};
use crate::support::Origin;
use crate::support::origin::write;

#[test]
fn networks_are_of_the_client_behind_trusted_proxies() {
    let origin = mirror();
    let rest = "[[routes]]\nname = \"in\"\npaths = [{ prefix = \"/in\" }]\nservice = \"s\"\n\
        filters = [{ deny = { networks = [\"203.0.113.7\"], status = 404 } }, { allow = [\"203.0.113.0/24\"] }]\n"
        .to_owned()
        + &served_by(&origin);
    everywhere(&rest, "trusted_proxies = [\"127.0.0.0/8\"]\n", |proxy, version| {
        let ask = |client: &str| curl(proxy.address, version, "/in", &["-H", &format!("X-Forwarded-For: {client}")]);
        assert_eq!(ask("203.0.113.9").status, 200);
        let refused = ask("198.51.100.1");
        let told = refused.field("proxy-status").unwrap_or_default().to_owned();
        assert_eq!((refused.status, told.contains("details=\"denied:address\"")), (403, true), "{told}");
        assert_eq!(ask("203.0.113.7").status, 404, "the status that was asked for");
        assert_eq!(
            ask("203.0.113.9, 198.51.100.1").status,
            403,
            "what is before the last hop is the client's invention"
        );
    });
    assert!(origin.requests().iter().all(|request| request.field("x-forwarded-for").unwrap().contains("203.0.113.9")));
}

#[test]
fn paths_hosts_and_values_are_written_anew() {
    let origin = mirror();
    let rest = "[[routes]]\nname = \"v\"\npaths = [{ prefix = \"/v\" }]\nservice = \"s\"\nfilters = [\n\
        { rewrite = { regex = \"^/v/([0-9]+)/(.*)\", path = \"/$2?v=$1\", host = \"inner.test\", replaced_path = true } },\n\
        { request_headers = { set = { X-Who = \"{client_ip} {method} {query:a} {header:x-in} {cookie:c}\" } } },\n\
        { response_headers = { set = { X-Seen = \"{scheme}://{authority}{uri}\", X-Route = \"{route}\" } } }]\n\
        [[routes]]\nname = \"r\"\npaths = [{ prefix = \"/r\" }]\nservice = \"s\"\n\
        filters = [{ redirect = { regex = \"^/r/([a-z]+)$\", path = \"/users/$1\", status = 308 } }, { response_headers = { add = { X-Seen = \"{path}\" } } }]\n\
        [[routes]]\nname = \"w\"\nhosts = [\"w.test\"]\nfilters = [{ redirect = { host = \"www.{host}\", scheme = \"https\", port = 8443 } }]\n"
        .to_owned()
        + &served_by(&origin);
    everywhere(&rest, "", |proxy, version| {
        let told = curl(proxy.address, version, "/v/7/x%2Fy/z?a=b", &["-H", "X-In: in", "-H", "Cookie: c=d"]);
        let seen = told.body.to_lowercase();
        assert!(seen.starts_with("get /x%2fy/z?v=7&a=b "), "{seen}");
        for field in
            ["\r\nhost: inner.test\r\n", "x-replaced-path: /v/7/x%2fy/z\r\n", "x-who: 127.0.0.1 get b in d\r\n"]
        {
            assert!(seen.contains(field), "{field}: {seen}");
        }
        assert!(seen.contains(&format!("x-forwarded-host: {}\r\n", proxy.address)), "{seen}");
        let as_asked = format!("http://{}/v/7/x%2Fy/z?a=b", proxy.address);
        assert_eq!((told.field("x-seen"), told.field("x-route")), (Some(&*as_asked), Some("v")));
        let told = curl(proxy.address, version, "/r/me?q", &[]);
        let location = format!("http://{}/users/me?q", proxy.address);
        assert_eq!((told.status, told.field("location")), (308, Some(&*location)));
        assert_eq!(told.field("x-seen"), Some("/r/me"), "what is added to answers is in ours, too");
        let told = curl(proxy.address, version, "/x?y", &["-H", "Host: w.test"]);
        assert_eq!(told.field("location"), Some("https://www.w.test:8443/x?y"));
    });
}

#[test]
fn pages_of_other_origins_read_answers_and_refusals_alike() {
    let origin = Origin::start(|_, stream| {
        write(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAccess-Control-Allow-Origin: *\r\nVary: Accept\r\n\r\n")
    });
    let rest = "[[routes]]\nname = \"api\"\nservice = \"s\"\nfilters = [{ deny = { networks = [\"203.0.113.0/24\"] } },\n\
        { cors = { origins = [\"https://*.app.test\"], methods = [\"PUT\"], headers = [\"x-one\"], credentials = true } }]\n"
        .to_owned()
        + &served_by(&origin);
    everywhere(&rest, "trusted_proxies = [\"127.0.0.0/8\"]\n", |proxy, version| {
        let of = ["-H", "Origin: https://a.app.test"];
        let before = origin.requests().len();
        let preflight = [&of[..], &["-X", "OPTIONS", "-H", "Access-Control-Request-Method: PUT"]].concat();
        let told = curl(proxy.address, version, "/", &preflight);
        assert_eq!((told.status, told.field("access-control-allow-methods")), (204, Some("PUT")));
        assert_eq!(told.field("access-control-allow-origin"), Some("https://a.app.test"));
        assert_eq!(origin.requests().len(), before, "a preflight is answered here");
        let told = curl(proxy.address, version, "/", &of);
        assert_eq!(
            told.all("access-control-allow-origin"),
            ["https://a.app.test"],
            "the upstream's own would contradict"
        );
        assert_eq!(told.all("vary"), ["Accept", "Origin"]);
        let told = curl(proxy.address, version, "/", &[&of[..], &["-H", "X-Forwarded-For: 203.0.113.1"]].concat());
        assert_eq!((told.status, told.field("access-control-allow-origin")), (403, Some("https://a.app.test")));
        let told = curl(proxy.address, version, "/", &["-H", "Origin: https://evil.test"]);
        assert_eq!((told.status, told.field("access-control-allow-origin")), (200, None));
    });
}

#[test]
fn what_the_upstream_says_of_itself_becomes_what_the_client_knows() {
    let origin = Origin::start(|_, stream| {
        write(
            stream,
            b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://inner.test:8080/app/x\r\n\
              Set-Cookie: a=1; Path=/app; Domain=inner.test\r\nSet-Cookie: b=2; Path=/other\r\n\r\n",
        )
    });
    let rest = "[[routes]]\nname = \"api\"\nservice = \"s\"\nfilters = [\n\
        { location_rewrite = { from = \"http://inner.test:8080/app/\", to = \"https://outer.test/\" } },\n\
        { cookie_rewrite = { path = { from = \"/app\", to = \"/\" }, domain = { from = \"inner.test\", to = \"\" }, secure = true } }]\n"
        .to_owned()
        + &served_by(&origin);
    everywhere(&rest, "", |proxy, version| {
        let told = curl(proxy.address, version, "/", &[]);
        assert_eq!(told.field("location"), Some("https://outer.test/x"));
        assert_eq!(told.all("set-cookie"), ["a=1; Path=/; Secure", "b=2; Path=/other; Secure"]);
    });
}

#[test]
fn a_field_that_is_set_twice_has_the_last_value() {
    let origin = mirror();
    let rest = "[filters.all]\nchain = [{ response_headers = { set = { X-Frame-Options = \"DENY\" } } }, { hsts = { max_age = \"1h\" } },\n\
        { cors = { origins = [\"*\"] } }]\n\
        [[routes]]\nname = \"r\"\nservice = \"s\"\nfilters = [{ response_headers = { set = { X-Frame-Options = \"SAMEORIGIN\" } } },\n\
        { cors = { origins = [\"https://a.test\"], credentials = true } },\n\
        { request_headers = { set = { X-A = \"{path}\" } } }, { request_headers = { set = { X-A = \"last\" } } }]\n"
        .to_owned()
        + &served_by(&origin);
    everywhere(&rest, "use = [\"all\"]\n", |proxy, version| {
        let told = curl(proxy.address, version, "/", &["-H", "Origin: https://a.test"]);
        assert_eq!(told.all("x-frame-options"), ["SAMEORIGIN"], "{version}");
        assert_eq!(told.all("access-control-allow-origin"), ["https://a.test"], "{version}");
        let refused = curl(proxy.address, version, "/a%zz", &[]);
        assert_eq!((refused.status, refused.all("x-frame-options")), (400, vec!["DENY"]), "{version}");
    });
}

#[test]
fn what_a_client_says_leads_nowhere_else() {
    let origin = Origin::start(|request, stream| {
        let location = if request.target().contains("away") { "http://inner//evil.test/x" } else { "http://inner/x" };
        let line = request.line().to_owned();
        write(
            stream,
            format!("HTTP/1.1 200 OK\r\nLocation: {location}\r\nContent-Length: {}\r\n\r\n{line}", line.len())
                .as_bytes(),
        )
    });
    let rest = "[[routes]]\nname = \"old\"\npaths = [{ prefix = \"/old\" }]\nservice = \"s\"\n\
        filters = [{ redirect = { url = \"^https?://[^/]+/old/(.*)$\", location = \"/$1\" } }]\n\
        [[routes]]\nname = \"t\"\npaths = [{ starts_with = \"/t\" }]\nservice = \"s\"\nfilters = [{ rewrite = { path = \"/tenants/{header:X-Tenant}/x?u={path}\" } }]\n\
        [[routes]]\nname = \"r\"\nservice = \"s\"\nfilters = [{ location_rewrite = { from = \"http://inner/\", to = \"/\" } }]\n"
        .to_owned()
        + &served_by(&origin);
    everywhere(&rest, "", |proxy, version| {
        for target in ["/old//evil.test", "/old/\\evil.test"] {
            let told = curl(proxy.address, version, target, &[]);
            assert_eq!((told.status, told.field("location")), (400, None), "{version} {target}");
        }
        assert_eq!(curl(proxy.address, version, "/away", &[]).field("location"), Some("/evil.test/x"));
        assert_eq!(curl(proxy.address, version, "/near", &[]).field("location"), Some("/x"));
        for (tenant, line) in
            [("a", "GET /tenants/a/x?u=%2Ft%26u HTTP/1.1"), ("..", "GET /tenants//x?u=%2Ft%26u HTTP/1.1")]
        {
            let told = curl(proxy.address, version, "/t&u", &["-H", &format!("X-Tenant: {tenant}")]);
            assert_eq!(told.body, line, "{version} {tenant}");
        }
        let told = curl(proxy.address, version, "/t&u", &["-H", "X-Tenant: ../admin"]);
        assert!(
            told.status == 400 || told.body.starts_with("GET /tenants/..%2Fadmin/"),
            "{} {}",
            told.status,
            told.body
        );
    });
}
