//! Request bodies that are read whole, and upstreams that take no chunks.

use super::{VERSIONS, curl, everywhere, route};
use crate::support::origin::{After, reply, write};
use crate::support::{Client, ENGINES, Origin, Proxy, noise};

/// An upstream that answers with the length it was told, and takes no chunks.
fn shy() -> Origin {
    Origin::start(|request, stream| match request.field("content-length") {
        Some(length) => reply(stream, format!("{length} {}", request.body.len()).as_bytes()),
        None if request.field("transfer-encoding").is_some() => {
            write(stream, b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            After::Close
        }
        None => reply(stream, b"none"),
    })
}

/// Uploads so many bytes in chunks, or over HTTP/2 without a length.
fn upload(proxy: &Proxy, version: &str, length: usize, more: &[&str]) -> super::Told {
    let file = proxy.folder.join(format!("body-{length}"));
    std::fs::write(&file, noise(5, length)).unwrap();
    let file = file.display().to_string();
    let arguments = [&["-X", "POST", "-T", &file, "-H", "Transfer-Encoding: chunked"], more].concat();
    curl(proxy.address, version, "/", &arguments)
}

#[test]
fn a_body_without_a_length_goes_on_with_its_length() {
    let origin = shy();
    everywhere(&route("{ buffer = { max = \"300KiB\" } }", &origin), "", |proxy, version| {
        let before = origin.requests().len();
        for (length, told) in [(1, "1 1"), (100_000, "100000 100000"), (307_200, "307200 307200")] {
            let got = upload(proxy, version, length, &[]);
            assert_eq!((got.status, &*got.body), (200, told), "{version}");
        }
        assert!(origin.requests()[before..].iter().all(|request| request.field("transfer-encoding").is_none()));
        let told = upload(proxy, version, 307_201, &[]);
        assert_eq!(told.status, 413, "{version}");
        assert!(told.field("proxy-status").unwrap().contains("client_body_too_large"));
        let got = upload(proxy, version, 5, &["-H", "Expect: 100-continue"]);
        assert_eq!((got.status, &*got.body), (200, "5 5"), "{version}: the client is told to go on");
        assert_eq!(curl(proxy.address, version, "/", &[]).body, "none", "what has no body passes at once");
        assert_eq!(origin.requests().len(), before + 5, "{version}");
    });
}

#[test]
fn a_client_that_breaks_its_body_off_is_not_sent_on() {
    let origin = shy();
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &route("{ buffer = {} }", &origin));
        let mut client = Client::connect(proxy.address);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
        drop(client);
        let mut client = Client::connect(proxy.address);
        client.send("POST /nonsense HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
        assert_eq!(client.response("POST").status, 400);
        let mut client = Client::connect(proxy.address);
        client
            .send("POST /next HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nokGET /then HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((client.response("POST").text().to_owned(), client.response("GET").status), ("2 2".to_owned(), 200));
        assert_eq!(proxy.line("/")["cause"], "client_closed:route", "{engine}");
    }
    assert!(origin.requests().iter().all(|request| request.target() != "/" && request.target() != "/nonsense"));
}

#[test]
fn a_411_is_answered_with_the_length_where_the_body_is_held() {
    let origin = shy();
    everywhere(&route("{ response_headers = { set = { X = \"1\" } } }", &origin), "", |proxy, version| {
        let got = upload(proxy, version, 20_000, &[]);
        assert_eq!(
            (got.status, &*got.body),
            (200, "20000 20000"),
            "{version}: a POST that was refused was not executed"
        );
        // More than is held by default: the upstream's own answer, and a word in the log about what would help, once.
        for _ in 0..2 {
            assert_eq!(upload(proxy, version, 200_000, &[]).status, 411, "{version}");
        }
        if version == VERSIONS[1] {
            let log = proxy.process_log();
            assert_eq!(log.matches("takes no body without its length").count(), 1, "{log}");
            let line = proxy.access_log().into_iter().find(|line| line["attempts"] == 2).unwrap();
            assert_eq!(line["failed"][0]["cause"], "upstream_length_required", "{line}");
        }
    });
}

/// Runs git in a folder; true where it succeeded.
fn git(folder: &std::path::Path, arguments: &[&str]) -> bool {
    let mut git = crate::support::tool("git", "git");
    git.current_dir(folder).args([
        "-c",
        "user.name=me",
        "-c",
        "user.email=me@example.com",
        "-c",
        "init.defaultBranch=main",
    ]);
    let done = git.args(arguments).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0").output().unwrap();
    done.status.success()
}

#[test]
fn git_pushes_in_chunks_to_a_program_of_cgi() {
    for engine in ENGINES {
        let folder = std::env::temp_dir().join(format!("ringress-git-{}-{engine}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("served")).unwrap();
        assert!(git(&folder.join("served"), &["init", "--bare", "project.git"]));
        assert!(git(&folder.join("served/project.git"), &["config", "http.receivepack", "true"]));
        let (_server, address) =
            crate::support::python::server("git_server.py", Some(folder.join("served").to_str().unwrap()));
        let rest = format!(
            "[services.s]\nendpoints = [\"{address}\"]\nretry = {{ buffer = \"1KiB\" }}\n\
             [[routes]]\nname = \"buffered\"\nhosts = [\"127.0.0.1\"]\nservice = \"s\"\nfilters = [{{ buffer = {{ max = \"16MiB\" }} }}]\n\
             [[routes]]\nname = \"streamed\"\nhosts = [\"localhost\"]\nservice = \"s\"\n"
        );
        let proxy = Proxy::start(engine, &rest);
        let url = |host: &str| format!("http://{host}:{}/project.git", proxy.address.port());
        assert!(git(&folder, &["clone", &url("127.0.0.1"), "work"]));
        let work = folder.join("work");
        std::fs::write(work.join("large"), noise(3, 3 << 20)).unwrap();
        assert!(git(&work, &["add", "."]) && git(&work, &["commit", "-m", "a large file"]));
        // More than its buffer goes in chunks.
        let push = |host: &str| git(&work, &["-c", "http.postBuffer=65536", "push", &url(host), "HEAD:main"]);
        assert!(!push("localhost"), "{engine}: this server takes no chunks");
        assert!(push("127.0.0.1"), "{engine}");
        assert!(git(&folder, &["clone", &url("127.0.0.1"), "-b", "main", "again"]));
        assert!(std::fs::read(folder.join("again/large")).unwrap() == noise(3, 3 << 20));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
