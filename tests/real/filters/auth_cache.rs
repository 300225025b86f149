//! What a service said of clients, remembered for a while.

use super::{mirror, route};
use crate::support::origin::write;
use crate::support::{Client, ENGINES, Origin, Proxy};

/// Says who may by the token, and counts who asks.
fn authority() -> Origin {
    Origin::start(|request, stream| {
        let answer = match request.field("x-token") {
            Some("good") => "HTTP/1.1 200 OK\r\nX-User: alice\r\nContent-Length: 0\r\n\r\n",
            Some("cookie") => "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\n\r\n",
            Some("broken") => "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
            Some(_) | None => "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Token\r\nContent-Length: 4\r\n\r\nwho?",
        };
        write(stream, answer.as_bytes())
    })
}

fn config(origin: &Origin, authority: &Origin, time: &str) -> String {
    let filter = format!(
        "{{ forward_auth = {{ service = \"auth\", response_headers = [\"X-User\"], cache = {{ key = \"{{header:X-Token}}\", \
         keep = [{{ status = [200, 401], time = \"{time}\" }}] }} }} }}"
    );
    route(&filter, origin)
        + &format!("[services.auth]\nendpoints = [\"{}\"]\nretry = {{ attempts = 0 }}\n", authority.address)
}

fn ask(client: &mut Client, token: &str) -> (u16, String) {
    let field = if token.is_empty() { String::new() } else { format!("X-Token: {token}\r\n") };
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n"));
    let response = client.response("GET");
    (response.status, response.text().to_lowercase())
}

#[test]
fn an_answer_is_remembered_by_its_key_and_status() {
    let origin = mirror();
    for engine in ENGINES {
        let authority = authority();
        let proxy = Proxy::start(engine, &config(&origin, &authority, "1h"));
        // One connection, so that it is one worker that remembers.
        let mut client = Client::connect(proxy.address);
        for (token, status, asked) in
            [("good", 200, 1), ("bad", 401, 1), ("worse", 401, 1), ("cookie", 200, 3), ("broken", 503, 3), ("", 401, 3)]
        {
            let before = authority.requests().len();
            for _ in 0..3 {
                let told = ask(&mut client, token);
                assert_eq!(told.0, status, "{engine}, {token}");
                assert_eq!(told.1.contains("x-user: alice"), token == "good", "{engine}, {token}: {}", told.1);
            }
            assert_eq!(authority.requests().len() - before, asked, "{engine}, {token}");
        }
    }
}

#[test]
fn nobody_comes_in_by_what_was_said_for_another_host_or_filter_or_against_the_services_will() {
    let origin = mirror();
    for engine in ENGINES {
        let authority = Origin::start(|request, stream| {
            let may = request.field("x-need") != Some("admin") && request.field("x-forwarded-host") != Some("closed");
            let fields =
                if request.field("x-token") == Some("each") { "Cache-Control: private, no-store\r\n" } else { "" };
            let status = if may { "200 OK" } else { "403 Forbidden" };
            write(stream, format!("HTTP/1.1 {status}\r\n{fields}Content-Length: 0\r\n\r\n").as_bytes())
        });
        let filter = |need: &str| {
            format!(
                "{{ forward_auth = {{ service = \"auth\", set = {{ X-Need = \"{need}\" }}, cache = {{ key = \"{{header:X-Token}}\" }} }} }}"
            )
        };
        let admin = format!(
            "[[routes]]\nname = \"admin\"\npaths = [{{ prefix = \"/admin\" }}]\nservice = \"s\"\nfilters = [{}]\n",
            filter("admin")
        );
        let rest = admin + &route(&filter("user"), &origin);
        let rest = rest + &format!("[services.auth]\nendpoints = [\"{}\"]\n", authority.address);
        let proxy = Proxy::start(engine, &rest);
        let mut client = Client::connect(proxy.address);
        let mut ask = |host: &str, path: &str, token: &str| {
            client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Token: {token}\r\n\r\n"));
            client.response("GET").status
        };
        let told = [("open", "/"), ("open", "/"), ("open", "/admin"), ("closed", "/")]
            .map(|(host, path)| ask(host, path, "a"));
        assert_eq!(told, [200, 200, 403, 403], "{engine}");
        assert_eq!(authority.requests().len(), 3, "{engine}: the second is remembered");
        assert_eq!([ask("open", "/", "each"), ask("open", "/", "each")], [200, 200]);
        assert_eq!(authority.requests().len(), 5, "{engine}: each time, as the service asks for");
    }
}

#[test]
fn what_is_remembered_comes_to_its_end() {
    let origin = mirror();
    for engine in ENGINES {
        let authority = authority();
        let proxy = Proxy::start(engine, &config(&origin, &authority, "3s"));
        let mut client = Client::connect(proxy.address);
        assert_eq!(ask(&mut client, "good").0, 200);
        assert_eq!(ask(&mut client, "good").0, 200);
        assert_eq!(authority.requests().len(), 1, "{engine}");
        std::thread::sleep(std::time::Duration::from_millis(3_500));
        assert_eq!(ask(&mut client, "good").0, 200);
        assert_eq!(authority.requests().len(), 2, "{engine}");
    }
}
