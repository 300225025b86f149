//! FastCGI: PHP by php-fpm, and any program by fcgiwrap.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::proxy::free_address;
use crate::support::{Client, ENGINES, Family, Proxy, Response, eventually, noise, output, tool};

/// php-fpm with the scripts of `tests/php`.
struct Php {
    address: SocketAddr,
    folder: PathBuf,
    _child: Family,
}

impl Php {
    /// With so many processes, and further lines of its pool.
    fn start(processes: u32, more: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let folder = std::env::temp_dir().join(format!("ringress-php-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("executed"), "").unwrap();
        let address = free_address();
        let pool = format!(
            "[global]\ndaemonize = no\nerror_log = {0}/log\n[www]\nuser = root\ngroup = root\nlisten = {address}\npm = static\n\
             pm.max_children = {processes}\nping.path = /ping\ncatch_workers_output = yes\n\
             php_admin_value[upload_max_filesize] = 200M\nphp_admin_value[post_max_size] = 200M\n\
             php_admin_value[upload_tmp_dir] = {0}\nphp_admin_flag[display_errors] = off\n{more}\n",
            folder.display()
        );
        std::fs::write(folder.join("fpm.conf"), pool).unwrap();
        let mut command = tool(&php_fpm(), "php-fpm");
        command.args(["-R", "-n", "-y"]).arg(folder.join("fpm.conf"));
        let php = Self { address, folder, _child: Family::spawn(&mut command) };
        eventually("php-fpm listens", || TcpStream::connect(address).is_ok());
        php
    }

    fn executed(&self) -> u64 {
        std::fs::metadata(self.folder.join("executed")).unwrap().len()
    }

    /// A route to it, with further keys of the service.
    fn service(&self, keys: &str) -> String {
        service(
            self.address,
            &format!(
                "script = {{ root = \"{}\", front_controller = \"/index.php\", must_exist = true }}\n\
                 params = {{ EXECUTED = \"{}/executed\", APP_MODE = \"of {{host}}\" }}\n{keys}",
                scripts().display(),
                self.folder.display()
            ),
        )
    }
}

impl Drop for Php {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Debian has the version in its name.
fn php_fpm() -> String {
    let folders = ["/usr/sbin", "/usr/local/sbin", "/usr/bin"];
    let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("php-fpm")).min().unwrap_or_else(|| "php-fpm".to_owned())
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/php")
}

/// A route to a FastCGI server.
pub fn service(address: SocketAddr, keys: &str) -> String {
    format!(
        "[[routes]]\nname = \"php\"\nservice = \"php\"\n\
         [services.php]\nprotocol = \"fastcgi\"\nendpoints = [\"{address}\"]\n{keys}\n"
    )
}

pub fn get(proxy: &Proxy, target: &str) -> Response {
    Client::connect(proxy.address).get(target)
}

/// What curl prints of an answer, and its status.
pub fn curl(proxy: &Proxy, arguments: &[&str], target: &str) -> String {
    let mut curl = tool("curl", "curl");
    curl.args(["-sS", "--path-as-is", "--max-time", "60", "-w", "|%{http_code}"]).args(arguments);
    output(curl.arg(format!("http://{}{target}", proxy.address)))
}

#[test]
fn php_is_told_of_a_request_and_which_script_it_names() {
    let php = Php::start(4, "");
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &php.service(""));
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let told = curl(
                &proxy,
                &[version, "-d", "a=b", "-H", "Host: a.test", "-H", "Proxy: evil", "-H", "X.Forwarded.User: forged"],
                "/a/%C3%BC?q=%20r",
            );
            let told: serde_json::Value = serde_json::from_str(told.strip_suffix("|200").unwrap()).unwrap();
            let root = scripts().display().to_string();
            for (name, value) in [
                ("REQUEST_METHOD", "POST"),
                ("SCRIPT_NAME", "/index.php"),
                ("SCRIPT_FILENAME", &*format!("{root}/index.php")),
                ("DOCUMENT_ROOT", &root),
                ("REQUEST_URI", "/a/%C3%BC?q=%20r"),
                ("QUERY_STRING", "q=%20r"),
                ("CONTENT_LENGTH", "3"),
                ("CONTENT_TYPE", "application/x-www-form-urlencoded"),
                ("REMOTE_ADDR", "127.0.0.1"),
                ("HTTP_HOST", "a.test"),
                ("SERVER_NAME", "a.test"),
                ("GATEWAY_INTERFACE", "CGI/1.1"),
                ("APP_MODE", "of a.test"),
            ] {
                assert_eq!(told[name], value, "{engine}, {version}: {name} of {told}");
            }
            for name in ["HTTP_PROXY", "HTTP_X_FORWARDED_USER"] {
                assert_eq!(told[name], serde_json::Value::Null, "{engine}: {name}");
            }
            let told = curl(&proxy, &[version], "/index.php/more/of%20it");
            assert!(told.contains("\"PATH_INFO\":\"\\/more\\/of it\"") && told.ends_with("|200"), "{engine}: {told}");
            assert_eq!(curl(&proxy, &[version], "/shop/"), "shop|200", "{engine}, {version}: the index of a folder");
            // PHP would run `hello.cgi` as a script of its own where it is asked for one below it.
            for (target, status) in [("/hello.cgi/x.php", 200), ("/..%2fetc/x.php", 400), ("/a%00.php", 400)] {
                let told = curl(&proxy, &[version], target);
                let is_front = told.contains("\"SCRIPT_NAME\":\"\\/index.php\"");
                assert!(
                    told.ends_with(&format!("|{status}")) && (status != 200 || is_front),
                    "{engine}: {target} {told}"
                );
            }
        }
    }
}

#[test]
fn bodies_go_to_php_and_come_back_whole() {
    let php = Php::start(4, "");
    let (long, short) = (php.folder.join("long"), php.folder.join("short"));
    std::fs::write(&long, noise(1, 30 * 1024 * 1024)).unwrap();
    std::fs::write(&short, noise(2, 700_000)).unwrap();
    let sum = |path: &PathBuf| output(tool("sha256sum", "coreutils").arg(path)).split(' ').next().unwrap().to_owned();
    for engine in ENGINES {
        for keeps in ["", "fastcgi_keep_conn = true"] {
            let proxy = Proxy::start(engine, &php.service(keeps));
            for version in ["--http1.1", "--http2-prior-knowledge"] {
                let what = format!("{engine}, {version}, {keeps}");
                let (file, form) = (format!("@{}", long.display()), format!("file=@{}", long.display()));
                let told = format!("{} {}|200", 30 * 1024 * 1024, sum(&long));
                assert_eq!(curl(&proxy, &[version, "-F", &form], "/body.php"), told, "{what}: a form");
                let text = ["-H", "Content-Type: text/plain"];
                let sent = curl(&proxy, &[&[version, "--data-binary", &file], &text[..]].concat(), "/body.php");
                assert_eq!(sent, told, "{what}");
                let file = format!("@{}", short.display());
                let chunked = [version, "-H", "Transfer-Encoding: chunked", "--data-binary", &file];
                let sent = curl(&proxy, &[&chunked, &text[..]].concat(), "/body.php");
                assert_eq!(sent, format!("700000 {}|200", sum(&short)), "{what}: no length");
                let told = curl(&proxy, &[version, "-o", "/dev/null", "-w", "|%{size_download}"], "/fails.php?large");
                assert_eq!(told, format!("|{}", 320 * 65_536), "{what}");
                assert_eq!(curl(&proxy, &[version, "-I", "-o", "/dev/null"], "/fails.php?large"), "|200", "{what}");
                assert_eq!(curl(&proxy, &[version], "/fails.php?nothing"), "|204", "{what}");
                assert_eq!(curl(&proxy, &[version], "/fails.php?elsewhere"), "|302", "{what}");
                assert_eq!(curl(&proxy, &[version], "/fails.php?length"), "abc|200", "{what}");
            }
        }
    }
}

#[test]
fn what_goes_wrong_in_php_has_its_status_and_cause_and_is_in_the_log() {
    let php = Php::start(8, "request_terminate_timeout = 1\n");
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &php.service("timeouts = { header = \"10s\" }\nretry = { attempts = 0 }"));
        let response = get(&proxy, "/fails.php?sleeps");
        let told = response.field("proxy-status").unwrap_or_default();
        assert!(response.status == 502 && told.contains("upstream_closed_no_response"), "{engine}: {told}");
        let response = get(&proxy, "/fails.php?throws");
        assert_eq!((response.status, response.field("proxy-status")), (500, None), "{engine}: an answer of PHP's own");
        let mut client = Client::connect(proxy.address);
        client.send("GET /fails.php?dies HTTP/1.1\r\nHost: a\r\n\r\n");
        while client.fill() {}
        eventually("the cut answer is told", || {
            proxy.access_log().iter().any(|line| line["cause"] == "upstream_truncated")
        });
        let response = get(&proxy, "/fails.php?prints");
        assert_eq!((response.status, response.text()), (200, "printed all the same"), "{engine}");
        let id = proxy.line("/fails.php?prints")["request_id"].as_str().unwrap().to_owned();
        eventually("what PHP said is in the log, with its request", || {
            let log = proxy.process_log();
            let said = |text: &str| log.lines().any(|line| line.contains(text) && line.contains(&id));
            said("first line") && said("second line")
        });
    }
    let nobody = free_address();
    let proxy =
        Proxy::start(ENGINES[0], &service(nobody, "script = { root = \"/srv\" }\ntimeouts = { header = \"300ms\" }"));
    for (target, status, cause) in [
        ("/", 502, "connect_refused"),
        ("/no-script", 404, "no_script"),
        ("/upload.jpg/x.php", 400, "client_bad_request:script_path"),
    ] {
        let response = get(&proxy, target);
        let told = response.field("proxy-status").unwrap_or_default();
        assert!(response.status == status && told.contains(cause), "{target}: {} {told}", response.status);
    }
    let proxy = Proxy::start(ENGINES[0], &php.service("timeouts = { header = \"300ms\" }\nretry = { attempts = 0 }"));
    let response = get(&proxy, "/fails.php?sleeps");
    assert_eq!(response.status, 504, "{:?}", response.field("proxy-status"));
}

#[test]
fn php_loses_no_post_and_executes_each_once() {
    // A kept connection has a process for itself: there are more processes than connections.
    for (keeps, processes, more) in [("", 4, ""), ("fastcgi_keep_conn = true\n", 12, "pm.max_requests = 50\n")] {
        for engine in ENGINES {
            let php = Php::start(processes, more);
            let limits =
                format!("{keeps}limits = {{ in_flight = 4, queue = 1000 }}\nkeep_alive = {{ per_worker = 4 }}");
            let proxy = Proxy::start(engine, &php.service(&limits));
            let body = php.folder.join("login.json");
            std::fs::write(&body, "{\"user\": \"a\", \"password\": \"b\"}").unwrap();
            let mut sent = 0;
            for (at_once, requests) in [("20", 200), ("200", 2_000)] {
                for keep in [&[][..], &["-k"]] {
                    let mut ab = tool("ab", "apache2-utils");
                    ab.args(["-q", "-l", "-s", "60", "-c", at_once, "-n", &requests.to_string(), "-p"]).arg(&body);
                    ab.args(["-T", "application/json"]).args(keep).arg(format!("http://{}/1", proxy.address));
                    let text = output(&mut ab);
                    assert!(text.contains("Failed requests:        0"), "{engine}, {keeps}: {text}");
                    assert!(!text.contains("Non-2xx"), "{engine}, {keeps}: {text}");
                    sent += requests;
                    assert_eq!(php.executed(), sent, "{engine}, {keeps}: each once");
                }
            }
            let waited = proxy.access_log().iter().filter(|line| line["queue_us"].as_u64() > Some(0)).count();
            assert!(waited > 0, "{engine}: where 200 meet 4 the wait is told");
            // GETs use connections again, up to the request behind which a process ends without a word.
            let mut ab = tool("ab", "apache2-utils");
            ab.args(["-q", "-l", "-k", "-s", "60", "-c", "20", "-n", "1000"])
                .arg(format!("http://{}/1", proxy.address));
            let text = output(&mut ab);
            assert!(
                text.contains("Failed requests:        0") && !text.contains("Non-2xx"),
                "{engine}, {keeps}: {text}"
            );
            let reused = proxy.metric("ringress_upstream_connections_reused_total");
            assert_eq!(reused > 100, !keeps.is_empty(), "{engine}, {keeps}: {reused}");
        }
    }
}

#[test]
fn a_check_asks_by_the_protocol() {
    let php = Php::start(2, "");
    for engine in ENGINES {
        let with = |path: &str| {
            let keys = format!(
                "script = {{ root = \"{}\" }}\nhealth = {{ path = \"{path}\", interval = \"100ms\", unhealthy = 1, fail_open = false }}",
                scripts().display()
            );
            service(php.address, &keys)
        };
        let proxy = Proxy::start(engine, &with("/gone"));
        eventually("the check has found nothing", || get(&proxy, "/shop/").status == 503);
        eventually("the finding is told", || proxy.process_log().contains("status 404"));
        proxy.rewrite("", &with("/ping"));
        eventually("the check has found it", || get(&proxy, "/shop/").status == 200);
        // It is told behind the finding.
        eventually("that is told", || proxy.process_log().contains("the endpoint is up"));
    }
}

#[test]
fn any_program_runs_behind_fcgiwrap() {
    let address = free_address();
    let mut command = tool("fcgiwrap", "fcgiwrap");
    command.args(["-f", "-c", "2", "-s", &format!("tcp:{address}")]);
    let _child = Family::spawn(&mut command);
    eventually("fcgiwrap listens", || TcpStream::connect(address).is_ok());
    let mode = std::fs::metadata(scripts().join("hello.cgi")).unwrap().permissions().mode();
    assert!(mode & 0o111 != 0, "it can be run");
    for engine in ENGINES {
        let script = format!("script = {{ root = \"{}\", split_path = [\".cgi\"] }}", scripts().display());
        let proxy = Proxy::start(engine, &service(address, &script));
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let told = curl(&proxy, &[version, "-d", "sent"], "/hello.cgi/more?q");
            assert_eq!(told, "/hello.cgi /more q sent|201", "{engine}, {version}");
        }
        eventually("what it said is in the log", || proxy.process_log().contains("careful"));
        let response = get(&proxy, "/hello.cgi");
        assert_eq!((response.status, response.field("x-own")), (201, Some("1")), "{engine}");
    }
}
