//! Signed tokens: every algorithm, keys of a file and of an address, and what must open nothing.

use std::sync::{Arc, Mutex};

use super::{mirror, route};
use crate::support::origin::{reply, write};
use crate::support::python::python;
use crate::support::{Client, ENGINES, Origin, Proxy, eventually, output};

#[test]
fn tokens_of_every_algorithm_open_and_every_other_is_refused_by_name() {
    let origin = mirror();
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &route("{ respond = { status = 204 } }", &origin));
        let tokens = output(python("jwt_tokens.py").arg(&proxy.folder));
        let tokens: serde_json::Value = serde_json::from_str(&tokens).unwrap();
        let filter = "{ jwt = { keys = \"keys.json\", secret = \"secret\", issuer = \"https://issuer.test\", audience = [\"api\"],\n\
            require = { roles = \"admin\" }, claims = { sub = \"X-User\", roles = \"X-Roles\", n = \"X-N\" }, keep = false, cookie = \"token\" } }";
        proxy.rewrite("", &route(filter, &origin));
        let mut client = Client::connect(proxy.address);
        eventually("it asks for a token", || client.get("/").status == 401);
        let mut ask = |field: &str, token: &str| {
            client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-User: forged\r\n{field}{token}\r\n\r\n"));
            client.response("GET")
        };
        for (name, token) in tokens["good"].as_object().unwrap() {
            for field in ["Authorization: Bearer ", "Cookie: a=b; token="] {
                let response = ask(field, token.as_str().unwrap());
                let seen = response.text().to_lowercase();
                assert_eq!(response.status, 200, "{engine} {name}: {seen}");
                assert!(
                    seen.contains("x-user: alice\r\n")
                        && seen.contains("x-roles: admin,user\r\n")
                        && seen.contains("x-n: 7\r\n"),
                    "{seen}"
                );
                assert!(!seen.contains("forged") && !seen.contains("authorization"), "{seen}");
            }
        }
        let told = |response: &crate::support::client::Response| response.field("proxy-status").unwrap().to_owned();
        for (cause, bad) in tokens["bad"].as_object().unwrap() {
            for token in bad.as_array().unwrap() {
                let response = ask("Authorization: Bearer ", token.as_str().unwrap());
                let status = told(&response);
                assert!(
                    response.status == 401 && status.contains(&format!("auth_required:{cause}\"")),
                    "{engine} {cause} {token}: {status}"
                );
                assert_eq!(response.field("www-authenticate"), Some("Bearer error=\"invalid_token\""));
            }
        }
        let response = ask("X-Nothing: ", "1");
        assert!(told(&response).contains("token_missing") && response.field("www-authenticate") == Some("Bearer"));
        let response = ask("Authorization: Bearer ", tokens["plain"].as_str().unwrap());
        assert!(response.status == 403 && told(&response).contains("denied:claims"), "{}", told(&response));
        // The issuer changes its keys: the file is taken up, and what the old ones signed opens nothing any more.
        let rotated: serde_json::Value =
            serde_json::from_str(&output(python("jwt_tokens.py").arg(&proxy.folder))).unwrap();
        let (old, new) = (tokens["good"]["ES256"].as_str().unwrap(), rotated["good"]["ES256"].as_str().unwrap());
        eventually("the new key is taken up", || ask("Authorization: Bearer ", new).status == 200);
        assert_eq!(ask("Authorization: Bearer ", old).status, 401);
    }
}

#[test]
fn keys_of_an_address_are_fetched_again_and_again_and_nobody_gets_in_without_them() {
    let set = Arc::new(Mutex::new(String::new()));
    let served = Arc::clone(&set);
    let issuer = Origin::start(move |request, stream| match &*served.lock().unwrap() {
        set if set.is_empty() || request.target() != "/keys" => {
            write(stream, b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
        }
        set => reply(stream, set.as_bytes()),
    });
    let origin = mirror();
    for engine in ENGINES {
        set.lock().unwrap().clear();
        let filter = "{ jwt = { keys_from = { service = \"issuer\", path = \"/keys\", every = \"1s\" } } }";
        let rest = route(filter, &origin) + &format!("[services.issuer]\nendpoints = [\"{}\"]\n", issuer.address);
        let proxy = Proxy::start(engine, &rest);
        let folder = proxy.folder.join("tokens");
        std::fs::create_dir_all(&folder).unwrap();
        let make =
            || -> serde_json::Value { serde_json::from_str(&output(python("jwt_tokens.py").arg(&folder))).unwrap() };
        let serve = || *set.lock().unwrap() = std::fs::read_to_string(folder.join("keys.json")).unwrap();
        let mut client = Client::connect(proxy.address);
        let mut ask = |token: &serde_json::Value| {
            let token = token.as_str().unwrap();
            client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"));
            let response = client.response("GET");
            (response.status, response.field("proxy-status").unwrap_or_default().to_owned())
        };
        let first = make();
        let (status, why) = ask(&first["good"]["ES256"]);
        assert!(status == 503 && why.contains("auth_unavailable:keys"), "{engine}: {status} {why}");
        serve();
        eventually("the keys are there", || ask(&first["good"]["ES256"]).0 == 200);
        assert_eq!(ask(&first["good"]["RS256"]).0, 200);
        // The issuer is gone for a while: what is known holds.
        set.lock().unwrap().clear();
        eventually("it is told once", || proxy.process_log().contains("could not be fetched"));
        std::thread::sleep(std::time::Duration::from_millis(1_200));
        assert_eq!(ask(&first["good"]["ES256"]).0, 200);
        let second = make();
        serve();
        eventually("the new keys are there", || ask(&second["good"]["ES256"]).0 == 200);
        assert_eq!(ask(&first["good"]["ES256"]).0, 401, "{engine}: the old keys open nothing any more");
        // Over a reload they go on.
        proxy.rewrite("", &(rest + "# changed\n"));
        eventually("the configuration is another", || proxy.process_log().matches("reloaded").count() > 0);
        assert_eq!(ask(&second["good"]["ES256"]).0, 200, "{engine}");
    }
}
