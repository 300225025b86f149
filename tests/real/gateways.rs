//! Application servers by their own protocols: a connection for each request, so that none is lost to one that had just closed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::authority::Authority;
use crate::support::proxy::free_address;
use crate::support::{Client, ENGINES, Family, Proxy, eventually, noise, output, tool};

/// uWSGI without its HTTP router, with an application that tells what it is told.
struct Application {
    uwsgi: SocketAddr,
    scgi: SocketAddr,
    socket: PathBuf,
    folder: PathBuf,
    child: Child,
}

impl Application {
    fn start(processes: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let folder = std::env::temp_dir().join(format!("ringress-gateway-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (uwsgi, scgi, socket) = (free_address(), free_address(), folder.join("app.sock"));
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = tool("uwsgi", "uwsgi uwsgi-plugin-python3");
        command.args(["--plugins", "python3", "--socket", &uwsgi.to_string(), "--scgi-socket", &scgi.to_string()]);
        command.arg("--socket").arg(&socket).arg("--wsgi-file").arg(root.join("tests/python/application.py"));
        command.args(["--master", "--need-app", "--no-orphans", "--disable-logging", "--buffer-size", "65535"]);
        command.args(["--processes", processes, "--listen", "1024"]).env("EXECUTED", folder.join("executed"));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
        let application = Self { uwsgi, scgi, socket, folder, child };
        eventually("uWSGI listens", || {
            application.folder.join("executed").exists() && std::net::TcpStream::connect(uwsgi).is_ok()
        });
        application
    }

    fn executed(&self) -> u64 {
        std::fs::metadata(self.folder.join("executed")).unwrap().len()
    }

    /// Services `uwsgi`, `unix` and `scgi`, each with a route for its name as a host.
    fn services(&self, keys: &str) -> String {
        let ways = [
            ("uwsgi", "uwsgi", self.uwsgi.to_string()),
            ("unix", "uwsgi", format!("unix:{}", self.socket.display())),
            ("scgi", "scgi", self.scgi.to_string()),
        ];
        let one = |(name, protocol, endpoint): &(&str, &str, String)| {
            format!(
                "[[routes]]\nname = \"{name}\"\nhosts = [\"{name}\"]\nservice = \"{name}\"\n\
                 [services.{name}]\nprotocol = \"{protocol}\"\nendpoints = [\"{endpoint}\"]\n{keys}\n"
            )
        };
        ways.iter().map(one).collect()
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        // It would wait for workers that hang.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

const WAYS: [&str; 3] = ["uwsgi", "unix", "scgi"];

#[test]
fn an_application_is_told_of_a_request_in_variables() {
    let application = Application::start("2");
    let keys = "params = { APP_MODE = \"of {host}\", HTTP_ACCEPT = \"\" }";
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &application.services(keys));
        for way in WAYS {
            for version in ["--http1.1", "--http2-prior-knowledge"] {
                let mut curl = tool("curl", "curl");
                curl.args(["-sS", version, "--path-as-is", "-H", &format!("Host: {way}"), "-H", "X-Own-Field: 1"]);
                curl.args(["-H", "Proxy: http://evil", "-H", "X_Own_Field: forged", "-H", "Cookie: a=1"]);
                curl.args(["-d", "a=b", &format!("http://{}/environ?q=%20r", proxy.address)]);
                let told: serde_json::Value = serde_json::from_str(&output(&mut curl)).unwrap();
                for (name, value) in [
                    ("REQUEST_METHOD", "POST"),
                    ("PATH_INFO", "/environ"),
                    ("QUERY_STRING", "q=%20r"),
                    ("REQUEST_URI", "/environ?q=%20r"),
                    ("CONTENT_LENGTH", "3"),
                    ("CONTENT_TYPE", "application/x-www-form-urlencoded"),
                    ("REMOTE_ADDR", "127.0.0.1"),
                    ("SERVER_NAME", way),
                    ("HTTP_HOST", way),
                    ("HTTP_X_OWN_FIELD", "1"),
                    ("HTTP_COOKIE", "a=1"),
                    ("REQUEST_SCHEME", "http"),
                    ("APP_MODE", &format!("of {way}")),
                ] {
                    assert_eq!(told[name], value, "{engine}, {way}, {version}: {name} of {told}");
                }
                for name in ["HTTP_PROXY", "HTTP_ACCEPT", "HTTPS"] {
                    assert_eq!(told[name], serde_json::Value::Null, "{engine}, {way}: {name}");
                }
            }
        }
    }
}

#[test]
fn bodies_go_both_ways_whole() {
    let application = Application::start("2");
    let folder = &application.folder;
    let (long, short) = (folder.join("long"), folder.join("short"));
    std::fs::write(&long, noise(1, 10 * 1024 * 1024)).unwrap();
    std::fs::write(&short, noise(2, 700_000)).unwrap();
    let sum = |path: &PathBuf| output(tool("sha256sum", "coreutils").arg(path)).split(' ').next().unwrap().to_owned();
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &application.services(""));
        for way in WAYS {
            for version in ["--http1.1", "--http2-prior-knowledge"] {
                let curl = |arguments: &[&str], target: &str| {
                    let mut curl = tool("curl", "curl");
                    curl.args(["-sS", version, "--max-time", "60", "-w", "|%{http_code}"]).args(arguments);
                    output(curl.args(["-H", &format!("Host: {way}"), &format!("http://{}{target}", proxy.address)]))
                };
                let file = |path: &PathBuf| format!("@{}", path.display());
                let chunked = "Transfer-Encoding: chunked";
                let told = curl(&["--data-binary", &file(&long)], "/sum");
                assert_eq!(told, format!("{} {}|200", 10 * 1024 * 1024, sum(&long)), "{engine}, {way}, {version}");
                let told = curl(&["-H", chunked, "--data-binary", &file(&short)], "/sum");
                assert_eq!(told, format!("700000 {}|200", sum(&short)), "{engine}, {way}, {version}: no length");
                let told = curl(&["-o", "/dev/null", "-w", "|%{http_code} %{size_download}"], "/large");
                assert_eq!(told, format!("|200 {}", 320 * 65_536), "{engine}, {way}, {version}");
                assert_eq!(curl(&["-I", "-o", "/dev/null"], "/large"), "|200", "{engine}, {way}: a HEAD");
                assert_eq!(curl(&[], "/nothing"), "|204", "{engine}, {way}");
                assert_eq!(curl(&["-H", "Expect: 100-continue", "-d", "abc"], "/"), "ok|200", "{engine}, {way}");
                assert_eq!(curl(&["-d", "abc"], "/ignores"), "no|403", "{engine}, {way}: an answer that came early");
            }
            let told =
                output(tool("curl", "curl").args(["-sS", "--http1.1", "-H", "Transfer-Encoding: chunked"]).args([
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code}",
                    "-H",
                    &format!("Host: {way}"),
                    "--data-binary",
                    &format!("@{}", long.display()),
                    &format!("http://{}/sum", proxy.address),
                ]));
            assert_eq!(told, "411", "{engine}, {way}: too long to be held");
        }
    }
}

#[test]
fn what_goes_wrong_has_its_status_and_cause() {
    for engine in ENGINES {
        // More workers than are asleep or gone at once.
        let application = Application::start("12");
        let keys = "timeouts = { header = \"500ms\" }\nretry = { attempts = 0 }";
        let nobody = "[[routes]]\nname = \"nobody\"\nhosts = [\"nobody\"]\nservice = \"nobody\"\n\
             [services.nobody]\nprotocol = \"uwsgi\"\nendpoints = [\"unix:/no/such.sock\"]\n";
        let proxy = Proxy::start(engine, &(application.services(keys) + nobody));
        let ask = |host: &str, target: &str, more: &str| {
            let mut client = Client::connect(proxy.address);
            client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"));
            let response = client.response("GET");
            (response.status, response.field("proxy-status").unwrap_or_default().to_owned())
        };
        let large = format!("X-A: {}\r\nX-B: {}\r\n", "x".repeat(32_600), "x".repeat(32_600));
        for way in WAYS {
            for (target, more, status, cause) in [
                ("/slow", "", 504, "upstream_header_timeout"),
                ("/a%00b", "", 400, "client_bad_request"),
                ("/", &large, 431, "upstream_head_limit"),
                // uWSGI says nothing where an application fails before its answer.
                ("/raises", "", 502, "upstream_closed_no_response"),
            ] {
                // A packet of SCGI has no such bound, and uWSGI is silent where its buffer is too small for one.
                if way == "scgi" && status == 431 {
                    continue;
                }
                let (own, told) = ask(way, target, more);
                assert!(own == status && told.contains(cause), "{engine}, {way}{target}: {own} {told}");
            }
            let mut client = Client::connect(proxy.address);
            client.send(format!("GET /dies HTTP/1.1\r\nHost: {way}\r\n\r\n"));
            while client.fill() {}
            eventually("the cut answer is told", || {
                let is_cut = |line: &serde_json::Value| line["host"] == *way && line["cause"] == "upstream_truncated";
                proxy.access_log().iter().any(is_cut)
            });
        }
        let (status, told) = ask("nobody", "/", "");
        assert!(status == 502 && told.contains("connect_refused"), "{engine}: {told}");
    }
}

#[test]
fn a_full_queue_of_a_unix_socket_is_waited_for() {
    use std::io::{Read as _, Write as _};
    let folder = std::env::temp_dir();
    for engine in ENGINES {
        let path = folder.join(format!("ringress-full-{engine}-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();
        // It takes one more than it says.
        let _first = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let config = format!(
            "[[routes]]\nname = \"r\"\nservice = \"s\"\n[services.s]\nendpoints = [\"unix:{}\"]\nretry = {{ attempts = 0 }}\n",
            path.display()
        );
        let proxy = Proxy::start(engine, &config);
        let mut client = Client::connect(proxy.address);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        std::thread::sleep(std::time::Duration::from_millis(100));
        let (_first, _) = socket.accept().unwrap();
        let (mut second, _) = socket.accept().unwrap();
        assert!(second.read(&mut [0; 4_096]).unwrap() > 0, "{engine}");
        second.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        assert_eq!(client.response("POST").status, 200, "{engine}");
        let _ = std::fs::remove_file(path);
    }
}

#[test]
fn uwsgi_is_spoken_over_tls() {
    let authority = Authority::new();
    let issued = authority.issue("application", &["localhost"]);
    let address = free_address();
    let executed = std::env::temp_dir().join(format!("ringress-suwsgi-{}", std::process::id()));
    let mut command = tool("uwsgi", "uwsgi uwsgi-plugin-python3");
    let socket = format!("{address},{},{}", issued.cert.display(), issued.key.display());
    command.args(["--plugins", "python3", "--suwsgi-socket", &socket, "--wsgi-file"]);
    command.arg(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/application.py"));
    command.args(["--need-app", "--disable-logging"]).env("EXECUTED", &executed).env("PYTHONDONTWRITEBYTECODE", "1");
    let _child = Family::spawn(&mut command);
    eventually("uWSGI listens", || std::net::TcpStream::connect(address).is_ok());
    for engine in ENGINES {
        let (port, ca) = (address.port(), authority.ca().display().to_string());
        let rest = format!(
            "[[routes]]\nname = \"app\"\nservice = \"app\"\n[services.app]\nprotocol = \"uwsgi\"\n\
             endpoints = [\"localhost:{port}\"]\ntls = {{ ca = [\"{ca}\"] }}\n\
             lenient = [\"missing_close_notify\"]\n"
        );
        let proxy = Proxy::start(engine, &rest);
        let url = format!("http://{}", proxy.address);
        // uWSGI ends its answers without a word of TLS.
        let told = output(tool("curl", "curl").args(["-sS", "-d", "abc", &format!("{url}/sum")]));
        assert!(told.starts_with("3 ba7816bf"), "{engine}: {told}");
        let large = ["-sS", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", &format!("{url}/large")];
        assert_eq!(output(tool("curl", "curl").args(large)), format!("200 {}", 320 * 65_536), "{engine}");
    }
    let _ = std::fs::remove_file(executed);
}

#[test]
fn the_story_loses_no_post_and_executes_each_once() {
    for engine in ENGINES {
        let application = Application::start("4");
        let proxy = Proxy::start(engine, &application.services("limits = { in_flight = 4, queue = 1000 }"));
        let body = application.folder.join("login.json");
        std::fs::write(&body, "{\"user\": \"a\", \"password\": \"b\"}").unwrap();
        let url = format!("http://{}/1", proxy.address);
        let mut sent = 0;
        for way in WAYS {
            for (at_once, requests) in [("20", 200), ("200", 3_000)] {
                for keep in [&[][..], &["-k"]] {
                    let mut ab = tool("ab", "apache2-utils");
                    ab.args(["-q", "-s", "60", "-c", at_once, "-n", &requests.to_string(), "-p"]).arg(&body);
                    ab.args(["-T", "application/json", "-H", &format!("Host: {way}")]).args(keep).arg(&url);
                    let text = output(&mut ab);
                    assert!(text.contains("Failed requests:        0"), "{engine}, {way}: {text}");
                    assert!(!text.contains("Non-2xx"), "{engine}, {way}: {text}");
                    sent += requests;
                    assert_eq!(application.executed(), sent, "{engine}, {way}: each once");
                }
            }
        }
        let waited = proxy.access_log().iter().filter(|line| line["queue_us"].as_u64() > Some(0)).count();
        assert!(waited > 0, "{engine}: where 200 meet 4 the wait is told");
    }
}
