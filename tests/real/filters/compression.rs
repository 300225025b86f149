//! Compressed answers, read by curl and by the command-line tools of each coding.

use std::io::Write as _;
use std::process::Stdio;

use super::{VERSIONS, curl, everywhere, route};
use crate::support::origin::{After, write};
use crate::support::{Client, ENGINES, Origin, Proxy, eventually, noise, tool};

fn text(length: usize) -> String {
    (0..length).map(|at| char::from(b'a' + u8::try_from(at * at % 23).unwrap())).collect()
}

/// An upstream of a long text: its target says how it is framed.
fn upstream() -> Origin {
    Origin::start(|request, stream| {
        let body = text(200_000);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"v1\"\r\nAccept-Ranges: bytes\r\n";
        match request.target() {
            "/length" => write(stream, format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()),
            "/chunked" => {
                let mut chunks = String::new();
                for part in body.as_bytes().chunks(7_001) {
                    let length = format!("{:x}", part.len());
                    chunks += &[&length, "\r\n", std::str::from_utf8(part).unwrap(), "\r\n"].concat();
                }
                write(stream, format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n").as_bytes())
            }
            "/close" => {
                write(stream, format!("{head}Connection: close\r\n\r\n{body}").as_bytes());
                After::Close
            }
            "/short" => write(stream, format!("{head}Content-Length: 5\r\n\r\nshort").as_bytes()),
            _ => write(stream, format!("{head}Content-Length: 200000\r\n\r\n{}", &body[..50_000]).as_bytes()),
        }
    })
}

/// What a tool makes of bytes.
fn decoded(name: &str, package: &str, bytes: &[u8]) -> Vec<u8> {
    let mut child =
        tool(name, package).args(["-d", "-c"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait_with_output().unwrap().stdout
}

#[test]
fn answers_are_compressed_as_the_client_likes_them() {
    let origin = upstream();
    everywhere(&route("{ compress = {} }", &origin), "", |proxy, version| {
        for target in ["/length", "/chunked", "/close"] {
            for (accepts, coding) in [("gzip", "gzip"), ("br", "br"), ("zstd", "zstd"), ("gzip, br;q=0.5", "gzip")] {
                let told = curl(
                    proxy.address,
                    version,
                    target,
                    &["--compressed", "-H", &format!("Accept-Encoding: {accepts}")],
                );
                assert_eq!(told.field("content-encoding"), Some(coding), "{version} {target}");
                assert_eq!((told.field("vary"), told.field("etag")), (Some("Accept-Encoding"), Some("W/\"v1\"")));
                assert_eq!((told.field("content-length"), told.field("accept-ranges")), (None, None));
                assert!(told.body == text(200_000), "{version} {target} {coding}");
            }
        }
        let told = curl(proxy.address, version, "/length", &[]);
        assert_eq!((told.field("content-encoding"), told.field("vary")), (None, Some("Accept-Encoding")));
        assert_eq!((told.field("content-length"), told.field("etag")), (Some("200000"), Some("\"v1\"")));
        assert_eq!(curl(proxy.address, version, "/short", &["--compressed"]).field("content-encoding"), None);
        let told = curl(proxy.address, version, "/length", &["-I", "-H", "Accept-Encoding: gzip"]);
        assert_eq!((told.field("content-encoding"), told.field("content-length")), (Some("gzip"), None), "as GET says");
        if version == VERSIONS[0] {
            let told = curl(proxy.address, "--http1.0", "/length", &["-H", "Accept-Encoding: gzip"]);
            assert_eq!((told.field("content-encoding"), told.body.len()), (None, 200_000));
        }
    });
}

#[test]
fn the_tools_of_each_coding_read_what_is_sent() {
    let origin = upstream();
    for engine in ENGINES {
        let proxy = Proxy::start(
            engine,
            &route("{ compress = { brotli_level = 7, zstd_level = 9, gzip_level = 9 } }", &origin),
        );
        for (coding, name, package) in [("gzip", "gzip", "gzip"), ("br", "brotli", "brotli"), ("zstd", "zstd", "zstd")]
        {
            let mut client = Client::connect(proxy.address);
            client.send(format!("GET /chunked HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {coding}\r\n\r\n"));
            let response = client.response("GET");
            assert!(response.body.len() < 20_000, "{coding}: {}", response.body.len());
            assert!(decoded(name, package, &response.body) == text(200_000).as_bytes(), "{engine} {coding}");
        }
        eventually("the lines are written", || proxy.access_log().len() == 3);
        let sent: u64 = proxy.access_log().iter().map(|line| line["response_bytes"].as_u64().unwrap()).sum();
        assert!(sent < 60_000, "the log has what went to the client: {sent}");
    }
}

#[test]
fn a_part_that_the_upstream_pauses_behind_arrives_before_the_next() {
    let origin = Origin::start(|_, stream| {
        write(
            stream,
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
        );
        // It goes on once the client has read what there is, which a client that waits for more never has.
        std::thread::sleep(std::time::Duration::from_secs(2));
        write(stream, b"6\r\nsecond\r\n0\r\n\r\n")
    });
    for engine in ENGINES {
        let proxy = Proxy::start(engine, &route("{ compress = {} }", &origin));
        for version in VERSIONS {
            let mut curl = tool("curl", "curl");
            curl.args(["-s", "-N", "--compressed", "--max-time", "1", version]);
            let seen = curl.arg(format!("http://{}/", proxy.address)).output().unwrap();
            assert_eq!(seen.stdout, b"first", "{engine} {version}");
        }
    }
}

#[test]
fn a_compressed_answer_that_breaks_off_does_not_look_whole() {
    let origin = Origin::start(|_, stream| {
        let body = noise(3, 60_000);
        write(stream, b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n");
        write(stream, &body);
        After::Close
    });
    everywhere(&route("{ compress = {} }", &origin), "", |proxy, version| {
        let mut curl = tool("curl", "curl");
        curl.args(["-s", "-o", "/dev/null", "--compressed", "--max-time", "20", version]);
        let status = curl.arg(format!("http://{}/", proxy.address)).status().unwrap();
        assert!(!status.success(), "{version}");
    });
}
