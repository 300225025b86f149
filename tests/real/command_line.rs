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
        ":7:5: routes.0.priority: invalid type",
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
    for expected in
        ["listener web (:80)", "route api", "forwarded as /y", "service s: round_robin over 10.0.0.1:80", "connect 5s"]
    {
        assert!(told.contains(expected), "{expected}\nnot in\n{told}");
    }
    assert!(text(&run(&["explain", &path, "GET", "http://b.test/"])).contains("404 no_route"));
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
