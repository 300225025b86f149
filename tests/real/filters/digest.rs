//! Passwords that do not go over the line.

use std::io::Write as _;
use std::process::Stdio;

use super::{curl, mirror, route};
use crate::support::python::python;
use crate::support::{Client, ENGINES, Proxy, eventually, output, tool};

/// Writes a user as `htdigest` does.
fn htdigest(file: &std::path::Path, realm: &str, user: &str, password: &str) {
    let mut program = tool("htdigest", "apache2-utils");
    if !file.exists() {
        program.arg("-c");
    }
    let started =
        program.arg(file).args([realm, user]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut child = started.unwrap();
    child.stdin.take().unwrap().write_all(format!("{password}\n{password}\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn users_that_htdigest_wrote_prove_their_passwords_and_a_changed_file_is_taken_up() {
    let origin = mirror();
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &route("{ respond = { status = 204 } }", &origin));
        let file = proxy.folder.join("users");
        htdigest(&file, "inner", "me", "right");
        htdigest(&file, "outer", "stranger", "right");
        let filter = "{ digest_auth = { file = \"users\", realm = \"inner\", user_header = \"X-User\" } }";
        proxy.rewrite("", &route(filter, &origin));
        eventually("it asks for a proof", || Client::connect(proxy.address).get("/").status == 401);
        // Over HTTP/1.1: curl 7.88 cannot ask twice over a connection of HTTP/2 without TLS, whoever answers.
        for target in ["/", "/a%20b/../c?d=e,f&g=h"] {
            let told =
                curl(proxy.address, "--http1.1", target, &["--digest", "-u", "me:right", "-H", "X-User: forged"]);
            let seen = told.body.to_lowercase();
            assert!(told.status == 200 && seen.contains("x-user: me\r\n"), "{engine} {target}: {seen}");
            assert!(!seen.contains("authorization") && !seen.contains("forged"), "{seen}");
        }
        for user in ["me:wrong", "nobody:right", "stranger:right", ":"] {
            let refused = curl(proxy.address, "--http1.1", "/", &["--digest", "-u", user]);
            assert_eq!(refused.status, 401, "{user}");
            let challenge = refused.field("www-authenticate").unwrap();
            assert!(challenge.starts_with("Digest realm=\"inner\", qop=\"auth\", algorithm=MD5, nonce=\""));
            assert!(!challenge.contains("stale"), "the password is wrong, not the challenge: {challenge}");
            assert!(refused.field("proxy-status").unwrap().contains("auth_required:digest"));
        }
        assert_eq!(curl(proxy.address, "--http1.1", "/", &["-u", "me:right"]).status, 401, "no other scheme will do");
        htdigest(&file, "inner", "new", "other");
        let new = || curl(proxy.address, "--http1.1", "/", &["--digest", "-u", "new:other"]).status == 200;
        eventually("the new user may", new);
    }
}

#[test]
fn an_old_challenge_is_answered_anew_without_asking_the_user() {
    let origin = mirror();
    // The SHA-256 of `me:inner:right`.
    let digest = output(tool("sh", "dash").args(["-c", "printf me:inner:right | openssl dgst -sha256 -r"]));
    let user = format!("me:inner:{}", digest.split(' ').next().unwrap());
    let filter = format!("{{ digest_auth = {{ users = [\"{user}\"], realm = \"inner\", lifetime = \"1s\" }} }}");
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &route(&filter, &origin));
        let url = format!("http://{}/x?y=z", proxy.address);
        for version in ["1", "2"] {
            let told = output(python("digest_client.py").args([&url, version, "me", "right", "3"]));
            assert_eq!(told.lines().collect::<Vec<_>>(), ["200 1 False", "200 1 True"], "{engine}, HTTP/{version}");
            let told = output(python("digest_client.py").args([&url, version, "me", "wrong", "0"]));
            assert!(told.lines().all(|line| line.starts_with("401")), "{engine}: {told}");
        }
    }
}
