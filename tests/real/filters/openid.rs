//! Signing in at a provider of OpenID Connect: a real one of a package, and a strict one of ours that can be told to fail.

use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;

use serde_json::Value;

use super::{mirror, served_by};
use crate::support::proxy::free_address;
use crate::support::python::{module, python};
use crate::support::{ENGINES, Origin, Proxy, Running, eventually, output};

/// A route with `oidc` at this provider.
fn config(folder: &std::path::Path, provider: SocketAddr, issuer: &str, keys: &str, origin: &Origin) -> String {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let secret = file("client", "s:cret\n");
    let seal = file("seal", "0123456789abcdef0123456789abcdef\n");
    format!(
        "[[routes]]\nname = \"r\"\nservice = \"s\"\nfilters = [{{ oidc = {{ service = \"provider\", issuer = \"{issuer}\", \
         client_id = \"shop\", client_secret = \"{secret}\", secret = \"{seal}\", claims = {{ email = \"X-Email\" }}{keys} }} }}]\n{}\
         [services.provider]\nendpoints = [\"{provider}\"]\ntimeouts = {{ header = \"1s\" }}\n",
        served_by(origin)
    )
}

/// What a browser saw at each step.
fn browse(steps: &[String]) -> Vec<Value> {
    let told = output(python("oidc_client.py").args(steps));
    told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn is(seen: &Value, status: u16, why: &str) -> bool {
    seen["status"] == status && seen["why"].as_str().unwrap().contains(why)
}

fn has(seen: &Value, part: &str) -> bool {
    seen["body"].as_str().unwrap().contains(part)
}

/// The provider of the package.
fn provider() -> (Running, SocketAddr) {
    let address = free_address();
    let port = address.port().to_string();
    let mut command = module("oidc_provider_mock");
    command.args(["--port", &port]).stdout(Stdio::null()).stderr(Stdio::null());
    let child = Running(command.spawn().unwrap());
    eventually("the provider listens", || TcpStream::connect(address).is_ok());
    (child, address)
}

/// Waits until the provider's keys are known.
fn ready(proxy: &Proxy) {
    let url = format!("script http://{}/", proxy.address);
    eventually("the provider is known", || is(&browse(std::slice::from_ref(&url))[0], 401, "auth_required:session"));
}

#[test]
fn browsers_sign_in_and_others_are_told_to() {
    let origin = mirror();
    let (_provider, address) = provider();
    for engine in ENGINES {
        let folder = std::env::temp_dir().join(format!("ringress-oidc-{}-{engine}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let proxy = Proxy::start(engine, &config(&folder, address, &format!("http://{address}"), "", &origin));
        ready(&proxy);
        let base = format!("http://{}", proxy.address);
        let seen = browse(&[
            format!("deny {base}/"),
            format!("script {base}/"),
            format!("post {base}/"),
            format!("{base}/a%20b?c=d&e"),
            format!("{base}/again"),
            format!("script {base}/data"),
            "tamper".to_owned(),
            format!("script {base}/data"),
            format!("{base}/"),
            format!("leave {base}/oidc/logout"),
            format!("script {base}/data"),
            "stranger".to_owned(),
        ]);
        assert!(is(&seen[0], 403, "denied:provider"), "{engine}: {}", seen[0]);
        for (at, what) in [(1, "a script"), (2, "a form"), (6, "a changed session"), (9, "after the end")] {
            assert!(is(&seen[at], 401, "auth_required:session"), "{engine}, {what}: {}", seen[at]);
            assert!(seen[at]["challenge"].as_str().unwrap().starts_with("Cookie realm="));
        }
        assert!(is(&seen[3], 200, "") && seen[3]["url"] == format!("{base}/a%20b?c=d&e"), "{engine}: {}", seen[3]);
        for at in [3, 4, 5, 7] {
            assert!(has(&seen[at], "x-email: alice@example.com") && !has(&seen[at], "forged"), "{}", seen[at]);
            assert!(!has(&seen[at], "cookie:"), "the session is nothing of the upstream's: {}", seen[at]);
        }
        assert_eq!((&seen[4]["hops"], &seen[4]["set"]), (&0.into(), &Value::Array(Vec::new())), "{engine}");
        assert!(seen[8]["url"].as_str().unwrap().contains("/oauth2/end_session?client_id=shop&post_logout"));
        assert!(seen[8]["ends"] == true && seen[8]["kept"].as_array().unwrap().is_empty(), "{engine}: {}", seen[8]);
        assert!(is(&seen[10], 403, "denied:login"), "another browser cannot end a sign-in: {}", seen[10]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn a_session_is_renewed_until_the_provider_says_no() {
    let origin = mirror();
    for engine in ENGINES {
        // What it gives is good for two seconds.
        let (_provider, address) = crate::support::python::server("oidc_provider.py", Some("short"));
        let folder = std::env::temp_dir().join(format!("ringress-renew-{}-{engine}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let proxy = Proxy::start(engine, &config(&folder, address, &format!("http://{address}/realm"), "", &origin));
        ready(&proxy);
        let base = format!("http://{}", proxy.address);
        let seen = browse(&[
            format!("{base}/"),
            "sleep 3".to_owned(),
            format!("script {base}/"),
            "sleep 3".to_owned(),
            format!("script {base}/"),
            format!("post http://{address}/revoke"),
            "sleep 3".to_owned(),
            format!("script {base}/"),
        ]);
        for (at, seen) in seen[..3].iter().enumerate() {
            assert!(is(seen, 200, "") && has(seen, "x-email: alice@example.com"), "{engine}: {seen}");
            let set = if at == 0 { Vec::new() } else { vec!["ringress_session"] };
            assert_eq!(seen["set"], Value::from(set), "after three seconds it is renewed: {seen}");
        }
        assert_eq!(
            seen[4]["set"],
            Value::from(vec!["ringress_session"]),
            "what is of no use is taken away: {}",
            seen[4]
        );
        assert!(is(&seen[4], 401, "auth_required:session"), "{engine}: {}", seen[4]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn routes_with_the_same_client_know_each_others_sessions() {
    let origin = mirror();
    let (_provider, address) = crate::support::python::server("oidc_provider.py", Some("good"));
    for engine in ENGINES {
        let folder = std::env::temp_dir().join(format!("ringress-routes-{}-{engine}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let rest = config(&folder, address, &format!("http://{address}/realm"), "", &origin);
        // The same filter on a further route, which asks for more.
        let filter = rest.lines().find(|line| line.starts_with("filters")).unwrap();
        let more = |name: &str, rule: &str| {
            let filter =
                filter.replace("claims = { email = \"X-Email\" }", &format!("claims = {{ sub = \"X-Sub\" }}, {rule}"));
            format!("[[routes]]\nname = \"{name}\"\npaths = [{{ prefix = \"/{name}\" }}]\nservice = \"s\"\n{filter}\n")
        };
        let staff = more("staff", "require = { groups = \"staff\" }");
        let nobody = more("nobody", "require = { groups = \"nobody\" }");
        let proxy = Proxy::start(engine, &(staff + &nobody + &rest));
        ready(&proxy);
        let base = format!("http://{}", proxy.address);
        let steps = ["", "script ", "script "].iter().zip(["/", "/staff", "/nobody"]);
        let seen = browse(&steps.map(|(verb, path)| format!("{verb}{base}{path}")).collect::<Vec<_>>());
        assert!(is(&seen[0], 200, "") && has(&seen[0], "x-email: alice@example.com"), "{engine}: {}", seen[0]);
        assert!(is(&seen[1], 200, "") && has(&seen[1], "x-sub: alice"), "{engine}: {}", seen[1]);
        assert!(is(&seen[2], 403, "denied:claims"), "{engine}: {}", seen[2]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn whatever_is_wrong_with_a_provider_nobody_gets_in() {
    let origin = mirror();
    let require = ", require = { groups = \"admin\" }";
    for (manner, status, why) in [
        ("good", 200, ""),
        ("large", 200, ""),
        ("nonce", 403, "denied:login"),
        ("key", 403, "denied:token_signature"),
        ("unsigned", 403, "denied:token_algorithm"),
        ("audience", 403, "denied:token_audience"),
        ("party", 403, "denied:token_audience"),
        ("expired", 403, "denied:token_expired"),
        ("issuer", 403, "denied:token_issuer"),
        ("guest", 403, "denied:claims"),
        ("refuses", 403, "denied:provider"),
        ("nobody", 403, "denied:provider"),
        ("nonsense", 503, "auth_unavailable:provider"),
        ("broken", 503, "auth_unavailable:provider"),
        ("silent", 503, "auth_unavailable:provider"),
    ] {
        let (provider, address) = crate::support::python::server("oidc_provider.py", Some(manner));
        let issuer = format!("http://{address}/realm");
        for engine in ENGINES {
            let folder = std::env::temp_dir().join(format!("ringress-wrong-{manner}-{}-{engine}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            let proxy = Proxy::start(engine, &config(&folder, address, &issuer, require, &origin));
            ready(&proxy);
            let url = format!("http://{}/x?y=z", proxy.address);
            let seen = browse(&[url.clone(), format!("script {url}")]);
            assert!(is(&seen[0], status, why), "{engine}, {manner}: {}", seen[0]);
            let second = if status == 200 { 200 } else { 401 };
            assert_eq!(seen[1]["status"], second, "{engine}, {manner}: {}", seen[1]);
            let parts =
                seen[0]["kept"].as_array().unwrap().iter().filter(|name| **name != "ringress_session_login").count();
            let expected = if manner == "large" { 4 } else { usize::from(status == 200) };
            assert_eq!(parts, expected, "{engine}, {manner}: {}", seen[0]);
            std::fs::remove_dir_all(&folder).unwrap();
        }
        drop(provider);
    }
}

#[test]
fn without_a_provider_nobody_gets_in_and_it_is_told_once() {
    let origin = mirror();
    for engine in ENGINES {
        let folder = std::env::temp_dir().join(format!("ringress-nobody-{}-{engine}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let nobody = free_address();
        let proxy = Proxy::start(engine, &config(&folder, nobody, &format!("http://{nobody}"), "", &origin));
        let seen = browse(&[format!("http://{}/", proxy.address), format!("script http://{}/", proxy.address)]);
        assert!(seen.iter().all(|seen| is(seen, 503, "auth_unavailable:provider")), "{engine}: {seen:?}");
        eventually("it is told", || proxy.process_log().contains("could not be fetched"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
