//! Every pair of filters on one route: what goes together works, and what does not is refused by `check` with a reason.

use std::process::Command;

use super::{Told, VERSIONS, curl, served_by};
use crate::support::origin::write;
use crate::support::{ENGINES, Origin, Proxy, eventually};

/// A filter, what a request must show to pass it, and the status of the answer where it passes.
const FILTERS: [(&str, &[&str], u16); 27] = [
    ("{ allow = [\"127.0.0.0/8\"] }", &[], 200),
    ("{ deny = [\"192.0.2.0/24\"] }", &[], 200),
    ("{ deny_headers = { fields = { User-Agent = [\"badbot\"] } } }", &[], 200),
    ("{ rate_limit = { rate = \"1000000/s\", tell = true } }", &[], 200),
    ("{ concurrency_limit = { max = 1000 } }", &[], 200),
    ("{ basic_auth = { users = [\"me:{PLAIN}secret\"] } }", &["Authorization: Basic bWU6c2VjcmV0"], 200),
    // Whoever shows a password shows no proof of one: it stands for the other way in.
    (
        "{ satisfy = { any = [{ digest_auth = { users = [\"me:restricted:3d78807defe7de2157e2b0b6573a855f\"] } }, { allow = [\"127.0.0.0/8\"] }] } }",
        &[],
        200,
    ),
    ("{ api_key = { keys = { a = \"0123456789abcdef\" } } }", &["X-API-Key: 0123456789abcdef"], 200),
    ("{ jwt = { secret = \"secret\", header = \"X-Token\", endless = true } }", &[TOKEN], 200),
    ("{ forward_auth = { service = \"s\", path = \"/verify\" } }", &[], 200),
    ("{ cors = { origins = [\"*\"] } }", &["Origin: https://a.test"], 200),
    ("{ strip_prefix = \"/p\" }", &[], 200),
    ("{ add_prefix = \"/q\" }", &[], 200),
    ("{ rewrite = { regex = \"^/(.*)\", path = \"/r/$1\" } }", &[], 200),
    ("{ request_headers = { set = { X-Of = \"{route}\" } } }", &[], 200),
    ("{ response_headers = { set = { X-Seen = \"{path}\" } } }", &[], 200),
    ("{ location_rewrite = { from = \"http://inner/\", to = \"/\" } }", &[], 200),
    ("{ cookie_rewrite = { secure = true } }", &[], 200),
    ("{ compress = {} }", &["Accept-Encoding: gzip"], 200),
    ("{ buffer = {} }", &[], 200),
    ("{ hsts = { max_age = \"1h\" } }", &[], 200),
    ("{ satisfy = { any = [{ allow = [\"192.0.2.0/24\"] }, { deny = [\"192.0.2.0/24\"] }] } }", &[], 200),
    ("{ client_certificate = { required = false, set = { X-Verified = \"verified\" } } }", &[], 200),
    ("{ error_pages = { status = [404], service = \"s\" } }", &[], 200),
    ("{ mirror = { service = \"s\" } }", &[], 200),
    ("{ bandwidth_limit = { rate = \"100MiB\" } }", &[], 200),
    ("{ respond = { status = 418, body = \"tea\" } }", &[], 418),
];

/// `{}` signed by HS256 with 32 times `k`.
const TOKEN: &str = "X-Token: eyJhbGciOiJIUzI1NiJ9.e30.SIGNATURE";

fn check(folder: &std::path::Path, config: &str) -> (i32, String) {
    let file = folder.join("pair.toml");
    std::fs::write(&file, config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ringress")).args(["check", "--offline"]).arg(file).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// An upstream whose answers have what each filter of answers looks for.
fn upstream() -> Origin {
    Origin::start(|request, stream| {
        let body = format!("{} {}", request.line(), "x".repeat(2_000));
        let length = body.len();
        let cookie = if request.target() == "/verify" { "" } else { "Set-Cookie: a=1\r\n" };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{cookie}Content-Length: {length}\r\n\r\n");
        write(stream, (head + &body).as_bytes())
    })
}

/// The token, signed.
fn token(secret: &str) -> String {
    let script = "import base64,hashlib,hmac,sys; print(base64.urlsafe_b64encode(hmac.new(sys.argv[1].encode(), sys.argv[2].encode(), hashlib.sha256).digest()).rstrip(b'=').decode())";
    let text = "eyJhbGciOiJIUzI1NiJ9.e30";
    let signature = crate::support::output(Command::new("python3").args(["-c", script, secret, text]));
    TOKEN.replace("SIGNATURE", signature.trim())
}

/// A route for each pair that goes together, and the filters that do not go with themselves.
fn pairs(folder: &std::path::Path, services: &str) -> (String, Vec<(usize, usize)>, Vec<&'static str>) {
    let (mut routes, mut pairs, mut refused) = (String::new(), Vec::new(), Vec::new());
    for (first, (one, ..)) in FILTERS.iter().enumerate() {
        for (second, (other, ..)) in FILTERS.iter().enumerate() {
            let name = format!("{first}-{second}");
            let route = format!(
                "[[routes]]\nname = \"{name}\"\npaths = [{{ exact = \"/p/{name}\" }}]\nservice = \"s\"\nfilters = [{one}, {other}]\n"
            );
            // Only a filter beside itself is expected to be refused, so that only those are asked about one by one: the others
            // stand in one configuration, which would not be taken.
            if first == second {
                let (code, told) = check(folder, &format!("[listeners.web]\naddress = \":0\"\n{route}{services}"));
                if code != 0 {
                    assert!(told.contains("once"), "{told}");
                    refused.push(*one);
                    continue;
                }
            }
            routes += &route;
            pairs.push((first, second));
        }
    }
    (routes, pairs, refused)
}

/// Asks the route of a pair, with what both want to see.
fn ask(proxy: &Proxy, version: &str, both: [usize; 2], token: &str) -> Told {
    let wanted = both.iter().flat_map(|at| FILTERS[*at].1).map(|field| field.replace(TOKEN, token));
    let mut fields: Vec<_> = wanted.collect();
    fields.dedup();
    let fields = fields.iter().flat_map(|field| ["-H", &**field]);
    let arguments: Vec<&str> = fields.chain(["--compressed", "-d", "body"]).collect();
    curl(proxy.address, version, &format!("/p/{}-{}", both[0], both[1]), &arguments)
}

/// Whether the answer shows that both filters have done their work.
fn judge(told: &Told, both: [usize; 2], what: &str) {
    let filters = both.map(|at| &FILTERS[at]);
    let expected = filters.iter().map(|filter| filter.2).find(|status| *status != 200).unwrap_or(200);
    assert_eq!(told.status, expected, "{what}: {:?}", told.field("proxy-status"));
    let has = |start: &str| filters.iter().any(|filter| filter.0.starts_with(start));
    assert_eq!(told.field("x-seen").is_some(), has("{ response_headers"), "{what}");
    assert_eq!(told.field("access-control-allow-origin").is_some(), has("{ cors"), "{what}");
    if expected != 200 {
        return;
    }
    assert_eq!(told.field("content-encoding").is_some(), has("{ compress"), "{what}");
    assert_eq!(told.field("set-cookie"), Some(if has("{ cookie_rewrite") { "a=1; Secure" } else { "a=1" }), "{what}");
    assert!(told.body.starts_with("POST /") && told.body.len() > 2_000, "{what}: {}", told.body);
    // In the order of the list: what comes last is outermost.
    let mut path = format!("/p/{}-{}", both[0], both[1]);
    for filter in filters {
        if filter.0.starts_with("{ strip_prefix") {
            path = path.strip_prefix("/p").unwrap_or(&path).to_owned();
        } else if filter.0.starts_with("{ add_prefix") {
            path = format!("/q{path}");
        } else if filter.0.starts_with("{ rewrite") {
            path = format!("/r{path}");
        }
    }
    assert_eq!(told.body.split(' ').nth(1), Some(&*path), "{what}");
}

#[test]
fn every_pair_of_filters_works_or_is_refused_with_a_reason() {
    let (origin, secret) = (upstream(), "k".repeat(32));
    let (services, token) = (served_by(&origin), token(&secret));
    let folder = std::env::temp_dir().join(format!("ringress-pairs-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("secret"), &secret).unwrap();
    let (routes, pairs, refused) = pairs(&folder, &services);
    assert_eq!(refused, ["{ compress = {} }"], "what is refused is known");
    for engine in ENGINES {
        let proxy = Proxy::start(engine, "[[routes]]\nname = \"none\"\nfilters = [{ respond = { status = 204 } }]\n");
        std::fs::write(proxy.folder.join("secret"), &secret).unwrap();
        proxy.rewrite("", &(routes.clone() + &services));
        eventually("the routes are there", || curl(proxy.address, VERSIONS[0], "/p/0-0", &[]).status == 200);
        for version in VERSIONS {
            for (first, second) in &pairs {
                let what = format!("{engine} {version}: {} then {}", FILTERS[*first].0, FILTERS[*second].0);
                judge(&ask(&proxy, version, [*first, *second], &token), [*first, *second], &what);
            }
        }
    }
}
