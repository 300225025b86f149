//! What this host lacks: ports, descriptors, routes, name servers. In namespaces of their own, where that is harmless.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::origin::{fill, reply};
use crate::support::proxy::service;
use crate::support::{After, Client, ENGINES, Origin, PATIENCE, Proxy, eventually, tool};

/// A proxy that listens on a Unix socket, in network and mount namespaces of its own.
struct Isolated {
    folder: PathBuf,
    child: Child,
}

impl Isolated {
    /// Runs `before` as a shell script in the namespaces, then the proxy with this configuration.
    fn start(engine: &str, before: &str, rest: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let folder = std::env::temp_dir().join(format!("ringress-isolated-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let at = folder.display();
        let config = format!(
            "[workers]\nthreads = 1\nengine = \"{engine}\"\n[listeners.web]\naddress = \"unix:{at}/web.sock\"\n\
             [access_log]\npath = \"{at}/access.log\"\n{rest}"
        );
        std::fs::write(folder.join("ringress.toml"), config).unwrap();
        // `ip` is there for the loopback interface of a new namespace, which is down.
        let ip = tool("ip", "iproute2").get_program().to_owned();
        let script = format!(
            "set -e; {} link set lo up; cd {at}; {before}\nexec {} run ringress.toml --log-format json",
            ip.display(),
            env!("CARGO_BIN_EXE_ringress")
        );
        let log = std::fs::File::create(folder.join("process.log")).unwrap();
        let child = tool("unshare", "util-linux")
            .args(["-n", "-m", "--kill-child", "bash", "-c", &script])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut isolated = Self { folder, child };
        eventually("the isolated proxy listens", || {
            let log = std::fs::read_to_string(isolated.folder.join("process.log")).unwrap();
            assert!(isolated.child.try_wait().unwrap().is_none(), "it ended (namespaces need root): {log}");
            UnixStream::connect(isolated.folder.join("web.sock")).is_ok()
        });
        isolated
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.folder.join("web.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The whole answer to a request.
    fn get(&self, target: &str) -> String {
        let mut stream = self.connect();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Isolated {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

fn route(endpoint: &str) -> String {
    format!("[[routes]]\nname = \"all\"\nservice = \"all\"\n[services.all]\nendpoints = [\"{endpoint}\"]\n")
}

#[test]
fn a_host_without_a_route_is_unreachable() {
    for engine in ENGINES {
        let proxy = Isolated::start(engine, "", &route("192.0.2.1:80"));
        let answer = proxy.get("/");
        assert!(answer.starts_with("HTTP/1.1 502 "), "{engine} {answer}");
        assert!(answer.contains("error=destination_ip_unroutable; details=\"connect_unreachable\""), "{answer}");
    }
}

#[test]
fn used_up_ports_are_waited_for_and_then_named() {
    for engine in ENGINES {
        // Two ports, and an origin that keeps each busy for as long as its request says.
        let origin = "cat > origin.py <<'END'\n\
            import http.server, socketserver, time\n\
            class H(http.server.BaseHTTPRequestHandler):\n\
            \x20 protocol_version = 'HTTP/1.1'\n\
            \x20 def log_message(self, *a): pass\n\
            \x20 def do_GET(self):\n\
            \x20  time.sleep(float(self.path[1:]))\n\
            \x20  self.wfile.write(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok')\n\
            class S(socketserver.ThreadingMixIn, http.server.HTTPServer):\n\
            \x20 daemon_threads = True\n\
            S(('127.0.0.1', 8000), H).serve_forever()\nEND\n\
            python3 origin.py & \n\
            echo '50000 50001' > /proc/sys/net/ipv4/ip_local_port_range\n\
            until python3 -c \"import socket; socket.create_connection(('127.0.0.1', 8000))\" 2>/dev/null; do sleep 0.05; done\n\
            sleep 0.1";
        let proxy = Isolated::start(engine, origin, &route("127.0.0.1:8000"));
        // TIME-WAIT of the look above passes by, or is reused.
        eventually("a port is free", || proxy.get("/0").contains(" 200 "));
        for (seconds, status) in [("0.5", "200"), ("3", "503")] {
            let busy: Vec<_> = (0..2)
                .map(|_| {
                    let mut stream = proxy.connect();
                    write!(stream, "GET /{seconds} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
                    stream
                })
                .collect();
            std::thread::sleep(Duration::from_millis(200));
            let answer = proxy.get("/0");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{engine} {seconds} {answer}");
            if status == "503" {
                assert!(answer.contains("details=\"local_resource:ports\""), "{engine} {answer}");
                assert!(answer.contains("Retry-After: 1\r\n"));
            }
            for mut stream in busy {
                stream.read_exact(&mut [0; 12]).unwrap();
            }
        }
    }
}

#[test]
fn a_name_server_that_is_silent_is_a_timeout() {
    // Nobody answers there.
    let script = "cat > silent.py <<'END'\n\
        import socket, time\n\
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.77', 53))\n\
        t = socket.socket(); t.bind(('127.0.0.77', 53)); t.listen(1)\n\
        time.sleep(60)\nEND\n\
        python3 silent.py &\n\
        echo 'nameserver 127.0.0.77' > resolv.conf\n\
        mount --bind resolv.conf /etc/resolv.conf\n\
        sleep 0.3";
    let proxy = Isolated::start("io_uring", script, &route("app.example:80"));
    let answer = proxy.get("/");
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(answer.contains("error=dns_timeout; details=\"dns_timeout\""), "{answer}");
}

#[test]
fn used_up_descriptors_are_named_and_a_pooled_connection_serves_meanwhile() {
    for engine in ENGINES {
        let origin = Origin::start(|request, stream| {
            if request.target() == "/hang" {
                let mut buffer = Vec::new();
                while fill(stream, &mut buffer) {}
                return After::Close;
            }
            reply(stream, b"x")
        });
        let proxy = Proxy::to(engine, &[origin.address]);
        let mut client = Client::connect(proxy.address);
        assert_eq!(client.get("/").status, 200);
        proxy.limit_files("5");
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(client.get("/").status, 200, "{engine}: the connection in the pool");
        proxy.limit_files("1024");
        // One whose pool is empty.
        let proxy = Proxy::start(engine, &service(&[origin.address], "keep_alive = { idle = \"0s\" }"));
        let mut client = Client::connect(proxy.address);
        assert_eq!(client.get("/").status, 200);
        proxy.limit_files("5");
        let response = client.get("/none");
        assert_eq!(response.status, 503, "{engine}");
        assert!(response.text().contains("cause: local_resource:descriptors"), "{engine} {}", response.text());
        proxy.limit_files("1024");
        assert_eq!(client.get("/").status, 200, "{engine}: it passes by");
    }
}
