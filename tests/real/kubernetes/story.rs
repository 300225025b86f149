//! A deployment of Traefik 1.7, imported: its file and its arguments become ours, and its load test loses nothing. `tests/kubernetes/story/run` does
//! the same in a real cluster, with more requests.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::api_server::{ApiServer, Fault};
use crate::support::proxy::free_address;
use crate::support::{Proxy, eventually, output, tool};

fn story(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubernetes/story").join(file)
}

/// Exit code, configuration and notes for this file and these arguments.
fn import(file: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringress"));
    let output = command.args(["import", "traefik"]).arg(file).arg("--").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn imported_story() -> (i32, String, String) {
    let arguments = std::fs::read_to_string(story("arguments")).unwrap();
    import(&story("traefik.toml"), &arguments.lines().collect::<Vec<_>>())
}

#[test]
fn the_configuration_is_imported_as_it_is_written_down() {
    let (code, config, notes) = imported_story();
    assert_eq!(code, 0, "{notes}");
    assert_eq!(config, std::fs::read_to_string(story("ringress.toml")).unwrap());
    for expected in [
        "entrypoints.http.forwardedHeaders: differs: ",
        "logLevel: differs: ",
        "accesslog.bufferingsize: nothing to do: ",
    ] {
        assert!(notes.contains(expected), "{expected}\nnot in\n{notes}");
    }
    // The folder of the log is the container's.
    let file = std::env::temp_dir().join(format!("ringress-imported-{}.toml", std::process::id()));
    std::fs::write(&file, config.replace("/logdata/", &format!("{}/", std::env::temp_dir().display()))).unwrap();
    let checked = Command::new(env!("CARGO_BIN_EXE_ringress")).arg("check").arg(&file).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let _ = std::fs::remove_file(file);
}

#[test]
fn what_has_no_equal_is_told_and_nothing_is_dropped_in_silence() {
    let file = std::env::temp_dir().join(format!("ringress-import-{}.toml", std::process::id()));
    let text = "RootCAs = [\"/ca.crt\"]\nmaxIdleConnsPerHost = -1\nnonsense = 1\n[retry]\n[respondingTimeouts]\nreadTimeout = 5\n\
                [entryPoints.web]\naddress = \"127.0.0.1:80\"\n[entryPoints.web.redirect]\nentryPoint = \"Secure\"\n\
                [entryPoints.web.whiteList]\nsourceRange = [\"10.0.0.0/8\"]\n[entryPoints.web.forwardedHeaders]\ntrustedIPs = [\"10.0.0.1\"]\n\
                [kubernetes]\nnamespaces = [\"a\", \"b\"]\nlabelSelector = \"x=y\"\ningressClass = \"traefik-inner\"\ntoken = \"t\"\n\
                [kubernetes.ingressEndpoint]\nip = \"203.0.113.1\"\n[acme]\nemail = \"a@b\"\n[backends.x.servers.y]\nurl = \"http://z\"\n";
    std::fs::write(&file, text).unwrap();
    let entry = "--entryPoints=Name:secure Address::443 TLS:/a.crt,/a.key;/b.crt,/b.key Compress:true";
    let (code, config, notes) = import(&file, &[entry, "--defaultentrypoints=web,secure", "--graceTimeOut=10"]);
    assert_eq!(code, 1, "{notes}");
    for expected in [
        "nonsense: not imported: ",
        "acme: not imported: certificates come",
        "backends: not imported: ",
        "kubernetes.token: differs: ",
    ] {
        assert!(notes.contains(expected), "{expected}\nnot in\n{notes}");
    }
    let config: toml::Table = config.parse().unwrap();
    let at = |path: &str| path.split('.').fold(toml::Value::from(config.clone()), |value, key| value[key].clone());
    for (path, expected) in [
        ("listeners.web.address", "\"127.0.0.1:80\""),
        ("listeners.web.use", r#"["web-networks", "to-secure"]"#),
        ("listeners.web.trusted_proxies", r#"["10.0.0.1"]"#),
        ("listeners.web.timeouts", r#"{ body = "5s", header = "5s", idle = "180s" }"#),
        ("listeners.secure.use", r#"["compress"]"#),
        (
            "listeners.secure.tls.certificates",
            r#"[{ cert = "/a.crt", key = "/a.key" }, { cert = "/b.crt", key = "/b.key" }]"#,
        ),
        ("kubernetes.default_listeners", r#"["web", "secure"]"#),
        ("kubernetes.namespaces", r#"["a", "b"]"#),
        ("kubernetes.selector", "\"x=y\""),
        ("kubernetes.classes", r#"["traefik-inner"]"#),
        ("kubernetes.publish_addresses", r#"["203.0.113.1"]"#),
        ("kubernetes.service.tls.ca", r#"["/ca.crt"]"#),
        ("kubernetes.service.keep_alive.idle", "\"0s\""),
        ("kubernetes.service.timeouts", r#"{ connect = "30s", header = "0s" }"#),
        ("shutdown.grace", "\"10s\""),
    ] {
        assert_eq!(at(path).to_string(), expected, "{path}");
    }
    // What would let somebody in who was asked for something is told, and stays closed.
    let text = "defaultEntryPoints = [\"a\"]\n[api]\nentryPoint = \"inner\"\n[entryPoints.inner]\naddress = \"10.0.0.1:99\"\n[entryPoints.inner.auth.basic]\nusers = [\"a:b\"]\n\
                [entryPoints.a]\naddress = \":80\"\n[entryPoints.a.auth.basic]\nusers = [\"a:b\"]\n[entryPoints.a.tls]\nclientCAFiles = [\"/ca\"]\nsniStrict = true\n[kubernetes]\n";
    std::fs::write(&file, text).unwrap();
    let (code, config, notes) = import(&file, &["--metrics=false"]);
    let config: toml::Table = config.parse().unwrap();
    assert_eq!(config["admin"]["address"].as_str(), Some("127.0.0.1:8080"));
    assert_eq!(config["listeners"]["a"]["use"].to_string(), r#"["not-imported"]"#);
    assert_eq!(config["listeners"]["a"]["tls"]["client_auth"].to_string(), r#"[{ ca = ["/ca"], mode = "required" }]"#);
    for expected in
        ["admin: not imported: ", "entrypoints.a: not imported: ", "entrypoints.a.tls.snistrict: not imported: "]
    {
        assert!(code == 1 && notes.contains(expected), "{expected}\nnot in\n{notes}");
    }
    std::fs::write(&file, "[entryPoints.a]\naddress = \":80\"\n[ping]\nentryPoint = \"a\"\n[kubernetes]\n").unwrap();
    let (_, config, _) = import(&file, &["--api=false"]);
    assert!(!config.contains("[admin]") && config.contains("exact = \"/ping\""), "{config}");
    std::fs::write(&file, "[entryPoints.a\n").unwrap();
    let (code, _, told) = import(&file, &[]);
    assert!(code != 0 && told.contains("line 1"), "{told}");
    let (code, _, told) = import(&story("traefik.toml"), &["api"]);
    assert!(code != 0 && told.contains("api: an argument begins with --"), "{told}");
    let _ = std::fs::remove_file(file);
}

#[test]
fn migrate_tells_of_ingress_objects_and_services() {
    let file = std::env::temp_dir().join(format!("ringress-migrate-traefik-{}.yaml", std::process::id()));
    let objects = "apiVersion: v1\nkind: Service\nmetadata: { name: one, namespace: shop, annotations: { \
                   traefik.ingress.kubernetes.io/affinity: \"true\", ingress.kubernetes.io/buffering: \"retryexpression: nonsense\" } }\n\
                   spec: { ports: [{ port: 80 }] }\n---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: { name: web, namespace: shop, \
                   annotations: { ingress.kubernetes.io/rule-type: PathStrip, traefik.frontend.priority: \"7\", ingress.kubernetes.io/proxy-headers: x } }\n\
                   spec: { rules: [{ host: a.test, http: { paths: [{ path: /x, pathType: Prefix, backend: { service: { name: one, port: { number: 80 } } } }] } }] }\n";
    std::fs::write(&file, objects).unwrap();
    let migrate = |more: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_ringress")).arg("migrate").arg(&file).args(more).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, told) = migrate(&["--without-class", "traefik1"]);
    assert_eq!(code, 1, "{told}");
    for expected in [
        "Ingress shop/web: served\n",
        "  ingress.kubernetes.io/rule-type: as before\n",
        "  traefik.frontend.priority: differs: ",
        "  ingress.kubernetes.io/proxy-headers: refused: ",
        "Service shop/one: served\n",
        "  traefik.ingress.kubernetes.io/affinity: differs: ",
        "  ingress.kubernetes.io/buffering: refused: `retryexpression`: `(` is expected at byte 8",
    ] {
        assert!(told.contains(expected), "{expected}\nnot in\n{told}");
    }
    assert!(migrate(&[]).1.contains("Ingress shop/web: not ours"));
    // A cluster that has the same objects is told the same of, and only read.
    let api = ApiServer::start();
    api.apply("shop", objects);
    let folder = std::env::temp_dir().join(format!("ringress-migrate-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let ask = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringress"));
        command.args(["migrate", "--without-class", "traefik1", "--kubeconfig"]).arg(api.kubeconfig(&folder));
        command.output().unwrap()
    };
    let output = ask();
    assert_eq!((output.status.code(), String::from_utf8(output.stdout).unwrap()), (Some(1), told));
    let requests = api.requests();
    assert!(requests.len() >= 6 && requests.iter().all(|request| request.starts_with("GET ")), "{requests:?}");
    api.fail(Fault::Forbidden);
    let output = ask();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("orbidden"), "{told}");
    for path in [&file, &folder.join("kubeconfig.yaml")] {
        let _ = std::fs::remove_file(path);
    }
    let _ = std::fs::remove_dir(folder);
}

struct Pod(Child);

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn its_load_test_loses_nothing_and_executes_each_once() {
    let folder = std::env::temp_dir().join(format!("ringress-story-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let executed = folder.join("executed");
    std::fs::write(&executed, "").unwrap();
    let addresses = [free_address(), free_address()];
    let pod = |address: &std::net::SocketAddr| {
        let mut uwsgi = tool("uwsgi", "uwsgi uwsgi-plugin-python3");
        uwsgi
            .args(["--plugins", "python3,http", "--http", &address.to_string(), "--callable", "app", "--wsgi-file"])
            .arg(story("main.py"));
        uwsgi.args([
            "--processes",
            "2",
            "--threads",
            "10",
            "--master",
            "--need-app",
            "--no-orphans",
            "--disable-logging",
        ]);
        uwsgi.args(["--listen", "1024"]).env("EXECUTED", &executed).env("PYTHONDONTWRITEBYTECODE", "1");
        Pod(uwsgi.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap())
    };
    let _pods: Vec<Pod> = addresses.iter().map(pod).collect();
    for address in addresses {
        eventually("uWSGI listens", || std::net::TcpStream::connect(address).is_ok());
    }
    let api = ApiServer::start();
    let objects = std::fs::read_to_string(story("objects.yaml")).unwrap();
    let (_, objects) = objects.split_once("kind: Service\n").unwrap();
    api.apply("data", &format!("apiVersion: v1\nkind: Service\n{objects}"));
    api.apply(
        "data",
        super::slices("data-api", &addresses, "ready: true")
            .replace("name: web", "name: http")
            .trim_start_matches("---\n"),
    );

    let (_, config, _) = imported_story();
    let mut config: toml::Table = config.parse().unwrap();
    let mut kept = toml::Table::new();
    for name in ["kubernetes", "routes", "filters"] {
        kept.insert(name.to_owned(), config.remove(name).unwrap());
    }
    kept["kubernetes"]
        .as_table_mut()
        .unwrap()
        .insert("kubeconfig".to_owned(), api.kubeconfig(&folder).display().to_string().into());
    // The test has one listener, whose name is another.
    let text = toml::to_string(&kept)
        .unwrap()
        .replace("[\"http\", \"https\"]", "[\"web\"]")
        .replace("[\"http\"]", "[\"web\"]");
    let proxy = Proxy::start_with("io_uring", "use = [\"compress\"]", &text);
    let url = format!("http://{}/account/users/login/", proxy.address);
    let mut sent = 0;
    for (at_once, requests, host) in
        [("20", 200, "data-api.example.com"), ("20", 200, "ops.example.com"), ("200", 3_000, "data-api.example.com")]
    {
        let mut ab = tool("ab", "apache2-utils");
        ab.args(["-q", "-s", "60", "-c", at_once, "-n", &requests.to_string(), "-p"]).arg(story("login.json"));
        let text = output(ab.args(["-T", "application/json", "-H", &format!("Host: {host}")]).arg(&url));
        assert!(text.contains("Failed requests:        0") && !text.contains("Non-2xx"), "{text}");
        sent += requests;
        assert_eq!(std::fs::metadata(&executed).unwrap().len(), sent, "each once");
    }
    let mut client = crate::support::Client::connect(proxy.address);
    assert_eq!(client.send("GET / HTTP/1.1\r\nHost: ops.example.com\r\n\r\n").response("GET").status, 401);
    assert_eq!(client.send("GET /ping HTTP/1.1\r\nHost: anything\r\n\r\n").response("GET").text(), "OK");
    let _ = std::fs::remove_dir_all(folder);
}
