//! Certificates: of the proxy in files and folders, of clients that show one, and what their ends end.

use crate::support::authority::{Authority, Issued};
use crate::support::proxy::service;
use crate::support::secure::{SecureClient, client_config};
use crate::support::{Client, ENGINES, Proxy, eventually, output, tool};
use crate::tls::mirror;

#[test]
fn clients_show_a_certificate_where_the_name_asks_for_it() {
    for engine in ENGINES {
        let origin = mirror();
        let (authority, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
        let web = format!(
            "tls = {{ certificates = [{}], client_auth = [{{ ca = [\"{}\"], hosts = [\"admin.test\"] }}] }}",
            authority.issue("a", &["open.test", "admin.test"]).toml(),
            clients.ca().display()
        );
        let proxy = Proxy::start_with(engine, &web, &service(&[origin.address], ""));
        let known = client_config(&authority, Some(&clients.issue("c", &["client"])));
        let unknown = client_config(&authority, Some(&strangers.issue("c", &["client"])));
        let nobody = client_config(&authority, None);
        let get = |config, name: &str, host: &str| {
            SecureClient::connect(proxy.address, config, name).and_then(|mut client| client.get(host, "/"))
        };
        let seen = get(&known, "admin.test", "admin.test").unwrap();
        let shown = seen.split("Client-Cert: :").nth(1).unwrap().split(":\r\n").next().unwrap();
        assert!(shown.len() > 300, "{shown}");
        for config in [&unknown, &nobody] {
            let fault = get(config, "admin.test", "admin.test").unwrap_err();
            assert!(fault.contains("alert") || fault.contains("ended"), "{engine}: {fault}");
        }
        // What one name does not ask for is no way to the other.
        assert!(get(&nobody, "open.test", "open.test").unwrap().starts_with("HTTP/1.1 200"));
        let refused = get(&nobody, "open.test", "admin.test").unwrap();
        assert!(refused.starts_with("HTTP/1.1 421") && refused.contains("cause: misdirected"), "{refused}");
    }
}

#[test]
fn the_upstream_is_told_of_a_certificate_in_the_words_that_it_knows() {
    for engine in ENGINES {
        let origin = mirror();
        let (authority, clients) = (Authority::new(), Authority::new());
        let web = format!(
            "tls = {{ certificates = [{}], client_auth = [{{ ca = [\"{}\"], mode = \"optional\" }}] }}",
            authority.issue("a", &["a.test"]).toml(),
            clients.ca().display()
        );
        let route = |name: &str, filter: &str| {
            format!(
                "[[routes]]\nname = \"{name}\"\npaths = [{{ prefix = \"/{name}\" }}]\nservice = \"s\"\nfilters = [{{ client_certificate = {filter} }}]\n"
            )
        };
        let set = "set = { ssl-client-verify = \"verified\", ssl-client-subject-dn = \"subject\", ssl-client-issuer-dn = \"issuer\", \
                   X-Serial = \"serial\", X-Print = \"fingerprint\", ssl-client-cert = \"pem\", X-Forwarded-Tls-Client-Cert = \"base64\" }";
        let rest = format!("[services.s]\nendpoints = [\"{}\"]\n", origin.address)
            + &route("told", &format!("{{ required = false, {set} }}"))
            + &route("asked", "{ status = 400 }")
            + &route("own", "{ subject = \"CN=.*\" }")
            + &route("others", "{ subject = \"N=\" }");
        let proxy = Proxy::start_with(engine, &web, &rest);
        let issued = clients.issue("c", &["client"]);
        let known = client_config(&authority, Some(&issued));
        let nobody = client_config(&authority, None);
        let get = |config, target: &str| {
            SecureClient::connect(proxy.address, config, "a.test").unwrap().get("a.test", target).unwrap()
        };
        // What openssl says of the same certificate.
        let says = |arguments: &[&str]| {
            let mut openssl = tool("openssl", "openssl");
            let said = output(openssl.args(["x509", "-noout", "-in"]).arg(&issued.cert).args(arguments));
            said.trim().split_once('=').unwrap().1.to_owned()
        };
        let told = get(&known, "/told");
        let field = |name: &str| {
            let lower = told.to_lowercase();
            let at = lower.find(&format!("\n{}: ", name.to_lowercase())).unwrap_or_else(|| panic!("{name}: {told}"));
            told[at + name.len() + 3..].split("\r\n").next().unwrap().to_owned()
        };
        assert_eq!(field("ssl-client-verify"), "SUCCESS");
        assert_eq!(field("ssl-client-subject-dn"), says(&["-subject", "-nameopt", "RFC2253"]));
        assert_eq!(field("ssl-client-issuer-dn"), says(&["-issuer", "-nameopt", "RFC2253"]));
        assert_eq!(field("X-Serial"), says(&["-serial"]));
        assert_eq!(field("X-Print"), says(&["-fingerprint", "-sha1"]).replace(':', "").to_lowercase());
        let pem = field("ssl-client-cert")
            .replace("%20", " ")
            .replace("%0A", "\n")
            .replace("%2B", "+")
            .replace("%2F", "/")
            .replace("%3D", "=");
        let der = pem.lines().filter(|line| !line.starts_with("-----")).collect::<String>();
        assert_eq!(der, field("X-Forwarded-Tls-Client-Cert"));
        assert_eq!(pem, std::fs::read_to_string(&issued.cert).unwrap().replace("\r\n", "\n"));
        let told = get(&nobody, "/told").to_lowercase();
        assert!(told.contains("ssl-client-verify: none") && !told.contains("ssl-client-cert"), "{told}");
        for (config, target, status, why) in [
            (&nobody, "/asked", "400", "denied:certificate_missing"),
            (&known, "/asked", "200", ""),
            (&known, "/own", "200", ""),
            (&known, "/others", "403", "denied:certificate_subject"),
        ] {
            let told = get(config, target);
            assert!(told.starts_with(&format!("HTTP/1.1 {status}")) && told.contains(why), "{target}: {told}");
        }
    }
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_answered_where_that_is_said() {
    for engine in ENGINES {
        let origin = mirror();
        let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
        let web = format!(
            "tls = {{ certificates = [{}], client_auth = [{{ ca = [\"{}\"], mode = \"filtered\" }}] }}",
            authority.issue("a", &["a.test"]).toml(),
            clients.ca().display()
        );
        let route = |name: &str, filters: &str| {
            format!(
                "[[routes]]\nname = \"{name}\"\npaths = [{{ prefix = \"/{name}\" }}]\nservice = \"s\"\nfilters = [{filters}]\n"
            )
        };
        let rest = format!("[services.s]\nendpoints = [\"{}\"]\n", origin.address)
            + &route("open", "")
            + &route("asked", "{ client_certificate = { status = 400 } }")
            + &route(
                "may",
                "{ client_certificate = { required = false, status = 400, set = { X-Verified = \"verified\" } } }",
            )
            + &route("sent", "{ client_certificate = { redirect = \"https://help.test{path}\" } }");
        let proxy = Proxy::start_with(engine, &web, &rest);
        let good = client_config(&authority, Some(&clients.issue("c", &["client"])));
        let bad = client_config(&authority, Some(&others.issue("c", &["client"])));
        let nobody = client_config(&authority, None);
        for (config, target, status, has) in [
            (&good, "/asked", "200", "client-cert: :"),
            (&good, "/may", "200", "x-verified: success"),
            (&nobody, "/may", "200", "x-verified: none"),
            (&nobody, "/asked", "400", "denied:certificate_missing"),
            (&nobody, "/sent", "302", "location: https://help.test/sent"),
            (&bad, "/asked", "400", "denied:certificate_invalid"),
            // A client that comes again goes on from its first handshake where it may; this one may not.
            (&bad, "/asked", "400", "denied:certificate_invalid"),
            (&bad, "/may", "400", "denied:certificate_invalid"),
            (&bad, "/sent", "302", "location: https://help.test/sent"),
            (&bad, "/open", "200", ""),
        ] {
            let mut client = SecureClient::connect(proxy.address, config, "a.test").unwrap();
            let told = client.get("a.test", target).unwrap().to_lowercase();
            assert!(told.starts_with(&format!("http/1.1 {status}")) && told.contains(has), "{target}: {told}");
            let is_told = told.contains("client-cert: ");
            assert_eq!(is_told, std::ptr::eq(config, &raw const good), "{target}: {told}");
        }
    }
}

#[test]
fn a_certificate_that_was_revoked_counts_for_nothing() {
    for engine in ENGINES {
        let origin = mirror();
        let authority = Authority::new();
        let (own, good, bad) =
            (authority.issue("a", &["a.test"]), authority.issue("g", &["good"]), authority.issue("b", &["bad"]));
        let config = |mode: &str, list: &std::path::Path| {
            format!(
                "tls = {{ certificates = [{}], client_auth = [{{ ca = [\"{}\"], crl = [\"{}\"], mode = \"{mode}\" }}] }}",
                own.toml(),
                authority.ca().display(),
                list.display()
            )
        };
        let rest = format!(
            "[services.s]\nendpoints = [\"{}\"]\n[[routes]]\nname = \"r\"\nservice = \"s\"\nfilters = [{{ client_certificate = {{ status = 400 }} }}]\n",
            origin.address
        );
        let list = authority.revoke(&[&bad], 2090);
        let strict = Proxy::start_with(engine, &config("required", &list), &rest);
        let filtered = Proxy::start_with(engine, &config("filtered", &list), &rest);
        let ask = |proxy: &Proxy, shown: &Issued| {
            let config = client_config(&authority, Some(shown));
            SecureClient::connect(proxy.address, &config, "a.test").and_then(|mut client| client.get("a.test", "/"))
        };
        assert!(ask(&strict, &good).unwrap().starts_with("HTTP/1.1 200"));
        assert!(ask(&strict, &bad).is_err(), "{engine}");
        assert!(ask(&filtered, &good).unwrap().starts_with("HTTP/1.1 200"));
        let told = ask(&filtered, &bad).unwrap();
        assert!(told.starts_with("HTTP/1.1 400") && told.contains("denied:certificate_invalid"), "{told}");
        // A list that is past its end says nothing of anybody, so nobody counts.
        authority.revoke(&[], 2025);
        eventually("the list is read", || ask(&strict, &good).is_err());
        // What is no list is told, and the last good configuration stays.
        std::fs::write(&list, "no list").unwrap();
        eventually("it is told", || strict.process_log().contains("no certificate revocation list in PEM"));
        assert!(ask(&strict, &good).is_err(), "{engine}");
        authority.revoke(&[], 2090);
        eventually("nobody is revoked any more", || ask(&strict, &bad).is_ok());
    }
}

#[test]
fn nothing_goes_on_after_the_end_of_the_certificate_that_was_shown() {
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let origin = mirror();
        let (authority, clients) = (Authority::new(), Authority::new());
        let web = format!(
            "tls = {{ certificates = [{}], client_auth = [{{ ca = [\"{}\"] }}] }}",
            authority.issue("a", &["a.test"]).toml(),
            clients.ca().display()
        );
        let proxy = Proxy::start_with("io_uring", &web, &service(&[origin.address], ""));
        let config = |shown: &Issued| {
            let builder = rustls::ClientConfig::builder_with_protocol_versions(&[version]);
            let builder = builder.with_root_certificates(authority.roots());
            std::sync::Arc::new(
                builder.with_client_auth_cert(vec![shown.der.clone()], shown.key_der.clone_key()).unwrap(),
            )
        };
        let short = clients.issue_for("short", &["client"], 4);
        let ends = std::time::Instant::now() + std::time::Duration::from_secs(5);
        let brief = config(&short);
        let visit = |config| {
            let mut client = SecureClient::connect(proxy.address, config, "a.test")?;
            let answer = client.get("a.test", "/")?;
            Ok::<_, String>((client, answer.starts_with("HTTP/1.1 200 "), answer.contains("Client-Cert: :")))
        };
        let (mut kept, is_taken, is_told) = visit(&brief).unwrap();
        assert!(is_taken && is_told && !kept.is_resumed(), "{version:?}");
        let (resumed, is_taken, is_told) = visit(&brief).unwrap();
        assert!(is_taken && is_told && resumed.is_resumed(), "{version:?}");
        std::thread::sleep(ends.saturating_duration_since(std::time::Instant::now()));
        assert!(visit(&brief).is_err(), "{version:?}: the certificate is over, and so is its session");
        assert!(kept.get("a.test", "/").unwrap().starts_with("HTTP/1.1 421 "), "{version:?}: and its connection");
        // A new certificate is taken.
        let (_, is_taken, is_told) = visit(&config(&clients.issue("long", &["client"]))).unwrap();
        assert!(is_taken && is_told, "{version:?}");
    }
}

#[test]
fn a_folder_may_hold_certificates_without_keys_and_keys_beside_them_or_within() {
    let origin = mirror();
    let authority = Authority::new();
    let folder = std::env::temp_dir().join(format!("ringress-folder-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let [first, second] = ["a", "b"].map(|name| authority.issue(name, &[&format!("{name}.test")]));
    // As cert-manager writes it.
    std::fs::copy(&first.cert, folder.join("tls.crt")).unwrap();
    std::fs::copy(&first.key, folder.join("tls.key")).unwrap();
    std::fs::copy(authority.ca(), folder.join("ca.crt")).unwrap();
    let both = [std::fs::read(&second.cert).unwrap(), std::fs::read(&second.key).unwrap()].concat();
    std::fs::write(folder.join("both.pem"), both).unwrap();
    let web = format!("tls.directory = \"{}\"", folder.display());
    let proxy = Proxy::start_with("io_uring", &web, &service(&[origin.address], ""));
    let config = client_config(&authority, None);
    for name in ["a.test", "b.test"] {
        let mut client = SecureClient::connect(proxy.address, &config, name).unwrap();
        assert!(client.get(name, "/").unwrap().starts_with("HTTP/1.1 200"));
    }
    eventually("it is told", || proxy.process_log().contains("ca.crt has no key beside it and is passed over"));
    // A chain in the wrong order is told as that.
    let wrong = [std::fs::read(authority.ca()).unwrap(), std::fs::read(&first.cert).unwrap()].concat();
    std::fs::write(folder.join("tls.crt"), wrong).unwrap();
    eventually("it is told", || proxy.process_log().contains("the key's certificate is number 2; put it first"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn nobody_can_say_that_he_showed_a_certificate() {
    let origin = mirror();
    let proxy = Proxy::to("io_uring", &[origin.address]);
    let mut client = Client::connect(proxy.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nClient-Cert: :forged:\r\nClient-Cert-Chain: :forged:\r\n\r\n");
    let seen = client.response("GET");
    assert!(!seen.text().contains("forged"), "{}", seen.text());
}

#[test]
fn a_certificate_that_ends_soon_is_told() {
    let origin = mirror();
    let authority = Authority::new();
    let web = format!("tls.certificates = [{}]", authority.issue_until("a", &["a.test"], 2021).toml());
    let proxy = Proxy::start_with("io_uring", &web, &service(&[origin.address], ""));
    eventually("it is told", || proxy.process_log().contains("the certificate has expired; renew it"));
}

#[test]
fn new_files_are_taken_and_bad_ones_are_told_and_left() {
    for engine in ENGINES {
        let origin = mirror();
        let authority = Authority::new();
        let first = authority.issue("a", &["a.test"]);
        let web = format!("tls.certificates = [{}]", first.toml());
        let proxy = Proxy::start_with(engine, &web, &service(&[origin.address], ""));
        let config = client_config(&authority, None);
        let mut kept = SecureClient::connect(proxy.address, &config, "a.test").unwrap();
        kept.get("a.test", "/").unwrap();
        let second = authority.issue("a", &["a.test"]);
        let shown =
            || SecureClient::connect(proxy.address, &client_config(&authority, None), "a.test").unwrap().certificate();
        eventually("the new certificate is shown", || shown() == second.der);
        assert!(kept.get("a.test", "/").unwrap().starts_with("HTTP/1.1 200"), "{engine}: the kept connection goes on");
        // The key of another certificate.
        let other = authority.issue("b", &["b.test"]);
        std::fs::copy(&other.key, &first.key).unwrap();
        eventually("it is told", || proxy.process_log().contains("the key of another certificate"));
        assert_eq!(shown(), second.der);
        assert!(kept.get("a.test", "/").unwrap().starts_with("HTTP/1.1 200"));
        let third = authority.issue("a", &["a.test"]);
        eventually("it is mended", || shown() == third.der);
    }
}
