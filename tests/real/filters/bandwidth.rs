//! Answers that go no faster than they may. Lower bounds of time hold on a busy host, too.

use std::time::{Duration, Instant};

use super::{curl, everywhere, served_by};
use crate::support::origin::write;
use crate::support::{Origin, noise};

#[test]
fn an_answer_takes_as_long_as_its_rate_says_and_arrives_whole() {
    let body = noise(1, 150_000).iter().map(|byte| char::from(b'a' + byte % 26)).collect::<String>();
    let text = body.clone();
    let origin = Origin::start(move |request, stream| {
        if request.target().contains("chunked") {
            write(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for part in text.as_bytes().chunks(40_000) {
                write(stream, &[format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
            }
            return write(stream, b"0\r\n\r\n");
        }
        write(stream, format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).as_bytes())
    });
    let rest = "[[routes]]\nname = \"slow\"\nservice = \"s\"\nfilters = [{ bandwidth_limit = { rate = \"100KiB\", after = \"20KiB\" } }]\n\
                [[routes]]\nname = \"fast\"\npaths = [{ prefix = \"/fast\" }]\nservice = \"s\"\n"
        .to_owned()
        + &served_by(&origin);
    everywhere(&rest, "", |proxy, version| {
        for target in ["/slow", "/chunked"] {
            let start = Instant::now();
            let told = curl(proxy.address, version, target, &[]);
            assert!(told.body == body, "{} bytes", told.body.len());
            // 150,000 less 20 KiB at 100 KiB/s, less the eighth of a second that goes ahead.
            assert!(start.elapsed() >= Duration::from_millis(1_120), "{:?}", start.elapsed());
        }
        // Others are not held up, and what has no body has nothing to wait for.
        let slow = std::thread::scope(|scope| {
            let slow = scope.spawn(|| curl(proxy.address, version, "/slow", &[]).body.len());
            assert_eq!(curl(proxy.address, version, "/fast", &[]).body.len(), 150_000);
            assert_eq!(curl(proxy.address, version, "/slow", &["--head"]).status, 200);
            slow.join().unwrap()
        });
        assert_eq!(slow, 150_000);
    });
}

#[test]
fn a_request_takes_as_long_as_its_rate_says_and_arrives_whole() {
    let sent = noise(2, 150_000);
    let expected = sent.clone();
    let origin = Origin::start(move |request, stream| {
        let told = if request.body == expected { "whole" } else { "another" };
        crate::support::origin::reply(stream, told.as_bytes())
    });
    let rest = "[[routes]]\nname = \"slow\"\nservice = \"s\"\n\
                filters = [{ bandwidth_limit = { rate = \"100KiB\", after = \"20KiB\", body = \"request\" } }]\n\
                [[routes]]\nname = \"fast\"\npaths = [{ prefix = \"/fast\" }]\nservice = \"s\"\n"
        .to_owned()
        + &served_by(&origin);
    everywhere(&rest, "", |proxy, version| {
        let file = proxy.folder.join("body");
        std::fs::write(&file, &sent).unwrap();
        let file = format!("@{}", file.display());
        for more in [&[][..], &["-H", "Transfer-Encoding: chunked"]] {
            let upload = |target| curl(proxy.address, version, target, &[&["--data-binary", &file], more].concat());
            let start = Instant::now();
            assert_eq!(upload("/slow").body, "whole", "{version}, {more:?}");
            assert!(start.elapsed() >= Duration::from_millis(1_120), "{:?}", start.elapsed());
            assert_eq!(upload("/fast").body, "whole", "{version}, {more:?}");
        }
        assert_eq!(
            curl(proxy.address, version, "/slow", &[]).body,
            "another",
            "{version}: no body has nothing to wait for"
        );
    });
}
