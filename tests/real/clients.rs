//! Real clients and servers from packages: curl, ab, wrk, nginx, Python.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::proxy::free_address;
use crate::support::{Client, ENGINES, Proxy, Running, eventually, noise, output, tool};

/// nginx that serves files of the folder and takes uploads.
fn nginx(folder: &Path) -> (Running, SocketAddr) {
    let address = free_address();
    let config = format!(
        "worker_processes 1; daemon off; master_process off; pid {0}/nginx.pid; error_log {0}/nginx.err;\n\
         events {{ worker_connections 2048; }}\n\
         http {{ access_log off; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/fcgi;\n\
         uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi; keepalive_requests 1000000;\n\
         server {{ listen {address}; root {0}/www; location /echo {{ return 200 \"$request_method $request_uri $http_x_test\"; }} }} }}\n",
        folder.display()
    );
    std::fs::write(folder.join("nginx.conf"), config).unwrap();
    let mut command = tool("nginx", "nginx-light");
    command.arg("-c").arg(folder.join("nginx.conf")).stderr(Stdio::null());
    let child = Running(command.spawn().unwrap());
    eventually("nginx listens", || std::net::TcpStream::connect(address).is_ok());
    (child, address)
}

fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("ringress-clients-{}-{name}", std::process::id()));
    std::fs::create_dir_all(folder.join("www")).unwrap();
    folder
}

/// A server in Python that echoes bodies and knows expectations and every method.
fn python() -> (Running, SocketAddr) {
    let address = free_address();
    let script = format!(
        "import http.server\n\
         class H(http.server.BaseHTTPRequestHandler):\n\
        \x20 protocol_version = 'HTTP/1.1'\n\
        \x20 def log_message(self, *a): pass\n\
        \x20 def answer(self):\n\
        \x20  if 'chunked' in self.headers.get('Transfer-Encoding', ''):\n\
        \x20   body = b''\n\
        \x20   while True:\n\
        \x20    n = int(self.rfile.readline().strip(), 16)\n\
        \x20    body += self.rfile.read(n); self.rfile.readline()\n\
        \x20    if n == 0: break\n\
        \x20  else: body = self.rfile.read(int(self.headers.get('Content-Length', 0)))\n\
        \x20  body = self.command.encode() + b' ' + self.path.encode() + b' ' + body\n\
        \x20  self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers()\n\
        \x20  if self.command != 'HEAD': self.wfile.write(body)\n\
        \x20 do_GET = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = do_HEAD = do_TRACE = do_PROPFIND = answer\n\
         http.server.ThreadingHTTPServer(('127.0.0.1', {}), H).serve_forever()\n",
        address.port()
    );
    let child = Running(Command::new("python3").args(["-c", &script]).stderr(Stdio::null()).spawn().unwrap());
    eventually("Python listens", || std::net::TcpStream::connect(address).is_ok());
    (child, address)
}

#[test]
fn curl_gets_the_same_through_the_proxy_as_directly() {
    let folder = folder("curl");
    let body = folder.join("body");
    std::fs::write(&body, noise(3, 300_000)).unwrap();
    let data = format!("@{}", body.display());
    let (_python, origin) = python();
    for engine in ENGINES {
        let proxy = Proxy::to(engine, &[origin]);
        for version in ["--http1.0", "--http1.1"] {
            for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND"] {
                let forms: &[&[&str]] = &[
                    &[],
                    &["--data-binary", &data],
                    &["--data-binary", &data, "-H", "Transfer-Encoding: chunked"],
                    &["--data-binary", &data, "-H", "Expect: 100-continue"],
                ];
                for form in forms {
                    let is_chunked = form.iter().any(|word| word.contains("chunked"));
                    if (method == "HEAD" && !form.is_empty()) || (version == "--http1.0" && is_chunked) {
                        continue;
                    }
                    let run = |address: SocketAddr| {
                        let mut curl = tool("curl", "curl");
                        curl.args(["-s", "-S", "--max-time", "20", "-o", "-", "-w", "%{http_code}", version]);
                        if method == "HEAD" {
                            curl.arg("-I")
                        } else {
                            curl.args(["-X", method])
                        };
                        curl.args(*form).arg(format!("http://{address}/a?b=c"));
                        let output = curl.output().unwrap();
                        assert!(output.status.success(), "{engine} {curl:?} {output:?}");
                        // The fields of a head differ; what follows them does not.
                        let end = output.stdout.windows(4).position(|window| window == b"\r\n\r\n");
                        output.stdout[end.filter(|_| method == "HEAD").unwrap_or(0)..].to_vec()
                    };
                    assert!(run(proxy.address) == run(origin), "{engine} {version} {method} {form:?}");
                }
            }
        }
        let lines = proxy.access_log();
        assert!(lines.iter().all(|line| line["cause"].is_null()), "{engine}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn ab_and_wrk_see_no_failed_request() {
    let folder = folder("load");
    std::fs::write(folder.join("www/file"), noise(1, 20_000)).unwrap();
    let (_nginx, origin) = nginx(&folder);
    for engine in ENGINES {
        let proxy = Proxy::to(engine, &[origin]);
        let url = format!("http://{}/file", proxy.address);
        for keep in [&[][..], &["-k"]] {
            let text = output(tool("ab", "apache2-utils").args(["-q", "-c", "20", "-n", "10000"]).args(keep).arg(&url));
            assert!(text.contains("Complete requests:      10000"), "{engine}: {text}");
            assert!(text.contains("Failed requests:        0"), "{engine}: {text}");
            assert!(!text.contains("Non-2xx"), "{engine}: {text}");
            if !keep.is_empty() {
                assert!(text.contains("Keep-Alive requests:    10000"), "{engine}: {text}");
            }
        }
        let text = output(tool("wrk", "wrk").args(["-t", "1", "-c", "1000", "-d", "3s", "--timeout", "15s"]).arg(&url));
        assert!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "{engine}: {text}");
        // Clients that close the moment they have the answer got it.
        let text =
            output(tool("wrk", "wrk").args(["-t", "1", "-c", "100", "-d", "2s", "-H", "Connection: close"]).arg(&url));
        assert!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "{engine}: {text}");
        let causes = proxy.access_log().iter().filter(|line| line["status"] == 200 && !line["cause"].is_null()).count();
        assert!(
            causes <= 100,
            "{engine}: {causes} were recorded as failed, more than the connections at the end of the load"
        );
        let direct = Client::connect(origin).get("/file").body;
        assert!(Client::connect(proxy.address).get("/file").body == direct);
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn nginx_sees_what_the_client_sent() {
    let folder = folder("nginx");
    let (_nginx, origin) = nginx(&folder);
    for engine in ENGINES {
        let proxy = Proxy::to(engine, &[origin]);
        let mut client = Client::connect(proxy.address);
        for n in 0..200 {
            client.send(format!("GET /echo/{n}?q HTTP/1.1\r\nHost: a\r\nX-Test: t{n}\r\n\r\n"));
            assert_eq!(client.response("GET").text(), format!("GET /echo/{n}?q t{n}"));
        }
        assert_eq!(client.get("/missing").status, 404);
        assert_eq!(proxy.line("/missing")["cause"], serde_json::Value::Null, "the 404 is the upstream's own");
    }
    std::fs::remove_dir_all(folder).unwrap();
}
