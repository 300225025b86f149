//! Pages in the place of answers that are errors.

use super::{curl, everywhere};
use crate::support::Origin;
use crate::support::origin::{After, write};
use crate::support::proxy::free_address;

/// An upstream whose answer has the status that the path names.
fn erring() -> Origin {
    Origin::start(|request, stream| {
        let status = request.target().trim_start_matches('/').split('?').next().unwrap().to_owned();
        if status == "cut" {
            write(stream, b"HTTP/1.1 500 Oh\r\nContent-Length: 10\r\n\r\nhal");
            return After::Close;
        }
        write(
            stream,
            format!("HTTP/1.1 {status} Oh\r\nWWW-Authenticate: Basic\r\nX-Own: 1\r\nContent-Length: 3\r\n\r\nown")
                .as_bytes(),
        )
    })
}

/// A service of pages, which answers 203 with what it was asked.
fn pages() -> Origin {
    Origin::start(|request, stream| {
        let told = ["x-code", "x-format", "x-original-uri", "host"].map(|name| request.field(name).unwrap_or("-"));
        let body = format!("{} {}", request.target(), told.join(" "));
        let head = format!(
            "HTTP/1.1 203 Page\r\nContent-Type: text/x-page\r\nX-Page: 1\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        write(stream, (head + &body).as_bytes())
    })
}

#[test]
fn an_error_of_the_upstream_gets_the_page_of_a_service() {
    let (origin, pages) = (erring(), pages());
    let rest = format!(
        "[services.s]\nendpoints = [\"{}\"]\n[services.pages]\nendpoints = [\"{}\"]\n\
         [[routes]]\nname = \"all\"\nservice = \"s\"\nfilters = [\n\
           {{ response_headers = {{ set = {{ X-Filter = \"1\" }} }} }},\n\
           {{ error_pages = {{ status = [404, \"500-599\"], service = \"pages\", path = \"/{{status}}.html\" }} }},\n\
           {{ error_pages = {{ status = [410], service = \"pages\", path = \"/gone\", keep_status = false }} }}]\n",
        origin.address, pages.address
    );
    everywhere(&rest, "", |proxy, version| {
        let ask = |target: &str| {
            curl(proxy.address, version, target, &["-H", "Host: shop.example", "-H", "Accept: text/x-page"])
        };
        for status in [404, 503] {
            let told = ask(&format!("/{status}?a=b"));
            let fields = ["content-type", "x-page", "x-filter", "x-own", "proxy-status"].map(|name| told.field(name));
            assert_eq!((told.status, fields), (status, [Some("text/x-page"), Some("1"), Some("1"), None, None]));
            assert_eq!(told.body, format!("/{status}.html {status} text/x-page /{status}?a=b shop.example"));
        }
        assert_eq!(proxy.line("/503?a=b")["status"], 503);
        let told = ask("/410");
        assert_eq!((told.status, told.body.starts_with("/gone 410")), (203, true));
        assert_eq!(ask("/404").field("www-authenticate"), Some("Basic"), "what the client shall do stays");
        for status in [200, 403] {
            let told = ask(&format!("/{status}"));
            assert_eq!((told.status, &*told.body), (status, "own"));
        }
        let told = curl(proxy.address, version, "/404", &["--head"]);
        assert_eq!((told.status, told.field("content-type"), &*told.body), (404, Some("text/x-page"), ""));
        let told = ask("/cut");
        assert_eq!((told.status, told.body.starts_with("/500.html 500")), (500, true), "{}", told.body);
        // An upload whose answer is an error leaves the connection in order.
        let told = curl(proxy.address, version, "/404", &["--data-binary", &"x".repeat(100_000)]);
        assert_eq!((told.status, told.field("x-page")), (404, Some("1")));
    });
}

#[test]
fn connections_are_kept_behind_a_page() {
    let (origin, pages) = (erring(), pages());
    let rest = format!(
        "[services.s]\nendpoints = [\"{}\"]\n[services.pages]\nendpoints = [\"{}\"]\n\
         [[routes]]\nname = \"all\"\nservice = \"s\"\nfilters = [{{ error_pages = {{ status = [404], service = \"pages\" }} }}]\n",
        origin.address, pages.address
    );
    for engine in crate::support::ENGINES {
        let before = (origin.connections(), pages.connections());
        let proxy = crate::support::Proxy::start(engine, &rest);
        let mut client = crate::support::Client::connect(proxy.address);
        for _ in 0..5 {
            assert_eq!(client.get("/404").status, 404);
            crate::support::past_probation();
        }
        assert_eq!((origin.connections() - before.0, pages.connections() - before.1), (1, 1), "{engine}");
    }
}

#[test]
fn our_own_errors_get_pages_too_and_a_file_is_one() {
    let (nobody, origin) = (free_address(), erring());
    let page = std::env::temp_dir().join(format!("ringress-page-{}.html", std::process::id()));
    std::fs::write(&page, "<h1>of a file</h1>").unwrap();
    let rest = format!(
        "[filters.pages]\nchain = [{{ error_pages = {{ status = [\"400-599\"], file = \"{}\" }} }}]\n\
         [services.gone]\nendpoints = [\"{nobody}\"]\n[services.s]\nendpoints = [\"{}\"]\n\
         [[routes]]\nname = \"gone\"\npaths = [{{ prefix = \"/gone\" }}]\nservice = \"gone\"\n\
         [[routes]]\nname = \"closed\"\npaths = [{{ prefix = \"/closed\" }}]\nservice = \"gone\"\nfilters = [{{ basic_auth = {{ users = [\"a:{{PLAIN}}b\"] }} }}]\n\
         [[routes]]\nname = \"fixed\"\npaths = [{{ prefix = \"/fixed\" }}]\nfilters = [{{ respond = {{ status = 503, body = \"fixed\" }} }}]\n\
         [[routes]]\nname = \"bare\"\npaths = [{{ exact = \"/500\" }}]\nservice = \"s\"\n\
         [[routes]]\nname = \"no-page\"\npaths = [{{ prefix = \"/\" }}]\nhosts = [\"no-page.example\"]\nservice = \"s\"\n\
         filters = [{{ error_pages = {{ status = [500], service = \"gone\" }} }}]\n",
        page.display(),
        origin.address
    );
    everywhere(&rest, "use = [\"pages\"]\n", |proxy, version| {
        for (target, status, cause) in
            [("/gone", 502, "connect_refused"), ("/nowhere", 404, "no_route"), ("/closed", 401, "auth_required")]
        {
            let told = curl(proxy.address, version, target, &[]);
            assert_eq!((told.status, &*told.body), (status, "<h1>of a file</h1>"), "{target}");
            assert_eq!(told.all("content-type"), ["text/html; charset=utf-8"]);
            assert!(told.field("proxy-status").unwrap().contains(cause), "{target}");
        }
        assert!(curl(proxy.address, version, "/closed", &[]).field("www-authenticate").is_some());
        assert_eq!(curl(proxy.address, version, "/fixed", &[]).body, "fixed", "what is written is meant");
        assert_eq!(curl(proxy.address, version, "/500", &[]).body, "<h1>of a file</h1>");
        let told = curl(proxy.address, version, "/500", &["-H", "Host: no-page.example"]);
        assert_eq!(told.body, "<h1>of a file</h1>", "where one has no page, the next one may");
    });
    std::fs::remove_file(&page).unwrap();
}

#[test]
fn an_error_without_its_page_keeps_its_status_and_says_why() {
    let (nobody, origin) = (free_address(), erring());
    let rest = format!(
        "[services.gone]\nendpoints = [\"{nobody}\"]\n[services.s]\nendpoints = [\"{}\"]\n\
         [[routes]]\nname = \"all\"\nservice = \"s\"\nfilters = [{{ error_pages = {{ status = [404], service = \"gone\" }} }}]\n",
        origin.address
    );
    everywhere(&rest, "", |proxy, version| {
        let told = curl(proxy.address, version, "/404", &[]);
        assert_eq!(told.status, 404);
        assert!(told.field("proxy-status").unwrap().contains("error_page_failed"), "{:?}", told.fields);
        assert_eq!(proxy.line("/404")["cause"], "error_page_failed");
    });
}
