//! The command line as people use it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use crate::support::proxy::free_address;
use crate::support::{Client, Origin, eventually};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringress")).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn file(name: &str, content: &str) -> String {
    let path = std::env::temp_dir().join(format!("ringress-cli-{}-{name}", std::process::id()));
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn check_tells_every_problem_with_its_place_and_exits_with_1() {
    let path = file(
        "bad.yaml",
        "listeners:\n  web:\n    adress: ':80'\nroutes:\n  - name: a\n    service: b\n    priority: high\n",
    );
    let output = run(&["check", &path]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output);
    for expected in [
        ":3:5: listeners.web.adress: unknown key `adress`; did you mean `address`?",
        ":7:5: routes.0.priority: `\"high\"` is not a number",
        "3 problems",
    ] {
        assert!(told.contains(expected), "{expected}\nnot in\n{told}");
    }
    let path = file("good.toml", "[listeners.web]\naddress = \":80\"\n");
    let output = run(&["check", &path, "--print"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output).contains("idle = \"75s\""), "the defaults are filled in");
    let printed = file("printed.toml", &String::from_utf8_lossy(&output.stdout));
    assert_eq!(run(&["check", &printed]).status.code(), Some(0), "what is printed can be read again");
    assert_eq!(run(&["check", "/no/such/file.toml"]).status.code(), Some(1));
    assert_eq!(run(&["chek"]).status.code(), Some(2));
}

#[test]
fn explain_tells_the_way_of_a_request() {
    let path = file(
        "explain.toml",
        "[listeners.web]\naddress = \":80\"\n[[routes]]\nname = \"api\"\nhosts = [\"a.test\"]\npaths = [{ prefix = \"/api\" }]\n\
         service = \"s\"\nfilters = [{ strip_prefix = \"/api\" }]\n[services.s]\nendpoints = [\"10.0.0.1:80\"]\n",
    );
    let told = text(&run(&["explain", &path, "GET", "http://a.test/x/../api/y", "-H", "X-A: b"]));
    for expected in ["listener web (:80)", "route api", "forwarded as /y", "service s: round_robin over 10.0.0.1:80"] {
        assert!(told.contains(expected), "{expected}\nnot in\n{told}");
    }
    assert!(text(&run(&["explain", &path, "GET", "http://b.test/"])).contains("404 no_route"));
    let all = text(&run(&["explain", &path, "GET", "http://a.test/api", "--all"]));
    assert!(all.contains("\"connect\":\"5s\"") && !told.contains("timeouts"), "{all}\n{told}");
    let json: serde_json::Value =
        serde_json::from_slice(&run(&["explain", &path, "GET", "http://a.test/api/y", "--json"]).stdout).unwrap();
    assert_eq!((&json[0]["route"], &json[0]["forwarded_as"]), (&"api".into(), &"/y".into()), "{json:#}");
}

#[test]
fn explain_goes_by_the_scheme_and_the_port_of_the_url() {
    let path = file(
        "schemes.toml",
        "[listeners.web]\naddress = \":8080\"\n[listeners.secure]\naddress = \":8443\"\ntls = {}\n\
         [[routes]]\nname = \"all\"\nfilters = [{ redirect = { scheme = \"https\" } }]\nservice = \"s\"\n[services.s]\n",
    );
    let told = |url: &str| text(&run(&["explain", &path, "GET", url]));
    let plain = told("http://a.test:8080/x");
    assert!(plain.contains("listener web") && plain.contains("answered 302 Location: https://a.test/x"), "{plain}");
    let secure = told("https://a.test:8443/x");
    assert!(
        secure.contains("listener secure") && secure.contains("forwarded as /x") && !secure.contains("listener web"),
        "{secure}"
    );
    assert!(told("https://a.test/").contains("no listener has port 443"), "{}", told("https://a.test/"));
}

#[test]
fn a_cause_is_explained_by_its_detail_and_by_the_word_of_proxy_status() {
    assert!(text(&run(&["explain-cause", "upstream_bad_header:speaks_tls"])).contains("write `tls = {}`"));
    assert!(text(&run(&["explain-cause", "connection_refused"])).contains("connect_refused: The upstream refused"));
    assert!(text(&run(&["explain-cause", "connection_terminated"])).contains("upstream_closed_no_response: "));
    assert_eq!(run(&["explain-cause", "nonsense"]).status.code(), Some(1));
}

#[test]
fn check_tells_warnings_apart_from_problems() {
    let text_of = |keys: &str| {
        format!(
            "[listeners.web]\naddress = \":80\"\n[[routes]]\nname = \"a\"\nservice = \"s\"\n{keys}\n[services.s]\nendpoints = [\"no.such.name.invalid:80\"]\n"
        )
    };
    let path = file("warned.toml", &text_of(""));
    let output = run(&["check", &path]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output).contains("no problem, 1 warning: 1 listener, 1 route, 1 service"), "{}", text(&output));
    assert!(text(&output).contains("warning: ") && text(&output).contains("`no.such.name.invalid` does not resolve"));
    assert_eq!(run(&["check", &path, "--strict"]).status.code(), Some(1));
    assert_eq!(run(&["check", &path, "--strict", "--offline"]).status.code(), Some(0));
    let path = file("nolog.toml", &(text_of("") + "[access_log]\npath = \"/no/such/folder/a.log\"\n"));
    let output = run(&["check", &path, "--offline"]);
    assert!(text(&output).contains("there is no folder /no/such/folder"), "{}", text(&output));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn words_of_other_proxies_and_slips_are_answered_in_words() {
    let problems = |web: &str, route: &str, service: &str, rest: &str| {
        let text = format!(
            "[listeners.web]\naddress = \":80\"\n{web}\n[[routes]]\nname = \"a\"\nservice = \"s\"\n{route}\n[services.s]\n{service}\n{rest}\n"
        );
        text_of_check(&text)
    };
    for (told, expected) in [
        (problems("client_max_body_size = \"1m\"", "", "", ""), "in nginx"),
        (problems("", "proxy_pass = \"http://x\"", "", ""), "`service` of the route"),
        (problems("", "middlewares = [\"a\"]", "", ""), "`filters` of the route"),
        (problems("", "", "", "[upstream.a]\nserver = \"x\""), "`[services.NAME]`"),
        (problems("tls = true", "", "", ""), "`true` is not a table; write `tls = {}`"),
        (problems("timeouts = { idle = 15 }", "", "", ""), "`15` has no unit; write \"15s\""),
        (problems("body_max = \"10M\"", "", "", ""), "write \"10MiB\""),
        (problems("", "paths = [\"/api\"]", "", ""), "write { prefix = \"/api\" }"),
        (problems("", "paths = [{ prefix = \"/api/*\" }]", "", ""), "write { prefix = \"/api\" }"),
        (problems("", "filters = [\"strip_prefix\"]", "", ""), "`strip_prefix` needs a value"),
        (problems("", "filters = [{ redirect = \"https\" }]", "", ""), "redirect = { scheme = \"https\" }"),
        (problems("", "filters = [{ strip_prefix = \"/a\", add_prefix = \"/b\" }]", "", ""), "a table of its own"),
        (
            problems("", "filters = [{ request_headers = { set = { X = \"$remote_addr\" } } }]", "", ""),
            "X-Forwarded-For",
        ),
        (problems("", "", "endpoints = [\"http://a:80\"]", ""), "is a URL; write \"a:80\""),
        (problems("", "", "endpoints = [\"10.0.0.1\"]", ""), "has no port"),
        (problems("", "", "protocol = \"https\"", ""), "write `tls = {}` in the service"),
        (problems("", "", "", "[access_log]\npath = \"syslog:server=a\""), "would be the name of a file"),
        (problems("mode = 0o660", "", "", ""), "`432` is not a file mode; write octal digits in quotation marks"),
        (problems("", "hosts = [\"_\"]", "", ""), "leave `hosts` out"),
        (problems("", "hosts = [\".shop.test\"]", "", ""), "write \"shop.test\" and \"*.shop.test\""),
        (problems("", "", "endpoints = [\"app.internal\"]", ""), "has no port; write \"app.internal:80\""),
        (problems("", "", "endpoints = [\"10.0.0.1:80 weight=2\"]", ""), "weight = 2 }"),
        (problems("", "", "", "[admin]\naddress = \"nowhere\""), "admin.address: `nowhere` is not an address"),
    ] {
        let told = told.replace("is a word of nginx", "in nginx");
        assert!(told.contains(expected), "{expected}\nnot in\n{told}");
        assert!(told.contains("1 problem\n"), "{told}");
    }
    // What can only mean one thing is taken.
    let content = "[listeners.web]\naddress = \":80\"\ntrusted_proxies = \"10.0.0.1\"\n[[routes]]\nname = \"a\"\nservice = \"s\"\n\
                hosts = \"a.test\"\n[services.s]\nendpoints = \"10.0.0.1:80\"\nhost = \"${RINGRESS_TEST_NOT_SET:-b.test}\"\n[admin]\naddress = \":9000\"\n";
    let path = file("taken.toml", content);
    let printed = text(&run(&["check", &path, "--print"]));
    for expected in ["hosts = [\"a.test\"]", "10.0.0.1/32", "host = \"b.test\"", "address = \":9000\""] {
        assert!(printed.contains(expected), "{expected} not in {printed}");
    }
}

/// What `check` says of a text.
fn text_of_check(content: &str) -> String {
    let path = file("words.toml", content);
    text(&run(&["check", &path, "--offline"]))
}

#[test]
fn schema_and_completions_and_version_are_printed() {
    let schema: serde_json::Value = serde_json::from_slice(&run(&["schema"]).stdout).unwrap();
    assert!(schema["properties"]["listeners"].is_object());
    assert!(text(&run(&["completions", "bash"])).contains("_ringress"));
    let version = text(&run(&["--version"]));
    assert!(version.starts_with("ringress 0.") && version.contains("engine: "), "{version}");
    assert!(text(&run(&["--help"])).contains("ringress --to 127.0.0.1:8080"));
}

#[test]
fn one_line_makes_a_proxy_and_a_taken_port_is_told() {
    let origin = Origin::text("one line");
    let listen = free_address();
    let arguments = ["--to", &origin.address.to_string(), "--listen", &listen.to_string()];
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringress")).args(arguments).stderr(Stdio::null()).spawn().unwrap();
    eventually("it listens", || std::net::TcpStream::connect(listen).is_ok());
    assert_eq!(Client::connect(listen).get("/").text(), "one line");
    let second = run(&arguments);
    assert_eq!(second.status.code(), Some(1));
    assert!(
        text(&second).contains("cannot listen") && text(&second).contains("choose another address"),
        "{}",
        text(&second)
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_demonstration_answers_what_it_promises() {
    let listen = free_address();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringress"))
        .args(["--listen", &listen.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("Ringress demonstration"));
    eventually("it listens", || std::net::TcpStream::connect(listen).is_ok());
    let mut client = Client::connect(listen);
    assert!(client.get("/").text().contains("keeps connections alive"));
    assert!(client.get("/flawed").text().contains("without saying so"));
    assert_eq!(client.get("/gone").status, 502);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn every_configuration_in_the_documentation_is_free_of_problems() {
    let authority = crate::support::authority::Authority::new();
    let issued = authority.issue("shop", &["shop.example.com"]);
    let secret = file("secret", "0123456789abcdef0123456789abcdef\n");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut samples = 0;
    for page in pages.filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let text_of_page = std::fs::read_to_string(&page).unwrap();
        for sample in text_of_page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
            let sample = sample
                .replace("shop.crt", issued.cert.to_str().unwrap())
                .replace("shop.key", issued.key.to_str().unwrap())
                .replace("shop.secret", &secret)
                .replace("sessions.secret", &secret);
            let path = file("documented.toml", &sample);
            let output = run(&["check", &path, "--offline", "--strict"]);
            assert_eq!(output.status.code(), Some(0), "{}: {}", page.display(), text(&output));
            samples += 1;
        }
    }
    assert!(samples >= 4, "{samples}");
}

#[test]
fn every_sample_configuration_is_free_of_problems() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config");
    let mut samples = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let output = run(&["check", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        samples += 1;
    }
    assert!(samples >= 2);
}

#[test]
fn a_cause_is_explained_and_the_page_of_all_is_up_to_date() {
    let told = run(&["explain-cause", "client_closed:wait"]);
    assert_eq!(told.status.code(), Some(0));
    let told = text(&told);
    for expected in ["client_closed: The client closed", "status        499", "usually       ", "what to do    "] {
        assert!(told.contains(expected), "{expected}\nnot in\n{told}");
    }
    let unknown = run(&["explain-cause", "stale_reuse_prove"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown).contains("did you mean `stale_reuse_proven`?"));
    assert!(text(&run(&["explain-cause"])).lines().count() > 35);
    let page = text(&run(&["explain-cause", "--markdown"]));
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/failures.md");
    assert!(
        page == std::fs::read_to_string(path).unwrap(),
        "write it anew: ringress explain-cause --markdown > docs/failures.md"
    );
    let keys = text(&run(&["schema", "--markdown"]));
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/keys.md");
    let written = std::fs::read_to_string(path).unwrap();
    assert!(keys == written, "write it anew: ringress schema --markdown > docs/keys.md");
    for (dialect, page) in
        [("ringress", "annotations"), ("ingress-nginx", "ingress-nginx"), ("traefik1", "traefik-1.7")]
    {
        let annotations = text(&run(&["annotations", dialect]));
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/{page}.md"));
        let written = std::fs::read_to_string(path).unwrap();
        assert!(annotations == written, "write it anew: ringress annotations {dialect} > docs/{page}.md");
    }
    // What the default does, row by row, as readers of the page need it.
    for row in [
        "| `connect_refused` | 502 | connection_refused | The upstream refused the connection. | other; others other |",
        "| `stale_reuse_likely` | 502 | connection_terminated | The upstream reset the reused connection. | same; others no / same / same |",
        "| `upstream_header_timeout` | 504 | http_response_timeout | The upstream did not answer in time. | other if asked; others no |",
        "| `upstream_closed_no_response` | 502 | connection_terminated | The upstream closed without an answer. | reused same, new other; others no / reused same, new no / reused same, new other |",
    ] {
        assert!(page.contains(row), "{row}\nnot in\n{page}");
    }
}
