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

/// What a tool encodes text to.
fn encoded(name: &str, package: &str) -> Vec<u8> {
    let mut child = tool(name, package).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    std::thread::spawn(move || input.write_all(text(200_000).as_bytes()));
    child.wait_with_output().unwrap().stdout
}

#[test]
fn a_client_that_knows_no_coding_gets_the_bytes_themselves() {
    let files = [("gzip", "gzip", "gzip"), ("br", "brotli", "brotli"), ("zstd", "zstd", "zstd")]
        .map(|(coding, tool, package)| (coding, encoded(tool, package)));
    let origin = Origin::start(move |request, stream| {
        let (_, coding, manner) = {
            let mut parts = request.target().splitn(3, '/');
            (parts.next(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
        };
        let mut body = files.iter().find(|(own, _)| *own == coding).unwrap().1.clone();
        if manner == "broken" {
            let at = body.len() / 2;
            body[..at + 64].iter_mut().skip(at).for_each(|byte| *byte ^= 0x5a);
        }
        let more = if manner == "same" { "Cache-Control: no-transform\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"v1\"\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n{more}\r\n",
            body.len()
        );
        write(stream, &[head.as_bytes(), &body].concat())
    });
    everywhere(&route("{ compress = { decompress = true } }", &origin), "", |proxy, version| {
        for coding in ["gzip", "br", "zstd"] {
            let target = format!("/{coding}");
            for accepts in ["", "identity", "deflate;q=1, *;q=0"] {
                let field = format!("Accept-Encoding: {accepts}");
                let told = curl(proxy.address, version, &target, &["-H", &field]);
                assert!(told.body == text(200_000), "{version} {coding} {accepts}");
                assert_eq!((told.field("content-encoding"), told.field("content-length")), (None, None), "{version}");
                assert_eq!((told.field("vary"), told.field("etag")), (Some("Accept-Encoding"), Some("W/\"v1\"")));
            }
            let known = format!("Accept-Encoding: {coding}");
            let told = curl(proxy.address, version, &target, &["--compressed", "-H", &known]);
            assert_eq!(
                (told.field("content-encoding"), told.field("etag")),
                (Some(coding), Some("\"v1\"")),
                "{version}"
            );
            assert!(told.body == text(200_000), "{version} {coding}: as it came");
            let told = curl(proxy.address, version, &format!("{target}/same"), &["-o", "/dev/null", "-D", "-"]);
            assert_eq!(told.field("content-encoding"), Some(coding), "{version}: nobody may change it");
            let mut client = tool("curl", "curl");
            // It is cut, or where nothing was sent yet a 502.
            client.args(["-s", "-f", "-o", "/dev/null", version, &format!("http://{}{target}/broken", proxy.address)]);
            assert!(!client.status().unwrap().success(), "{version} {coding}: it does not look whole");
        }
        let is_told = |line: &serde_json::Value| line["cause"] == "upstream_bad_body:content_encoding";
        eventually("the cause is told", || proxy.access_log().iter().any(is_told));
    });
}
