//! FastCGI's records, of servers that cut them anywhere and of those that break the protocol.

use std::io::Write as _;
use std::time::Duration;

use crate::fastcgi::{curl, get, service};
use crate::support::origin::fill;
use crate::support::{Client, ENGINES, Origin, Proxy, eventually};

/// A server that reads each request to the end of its body and answers with these bytes, in parts of so many.
fn answers(answer: Vec<u8>, part: usize) -> Origin {
    Origin::raw(move |stream, _, _| {
        let mut all = Vec::new();
        while !all.ends_with(&[1, 5, 0, 1, 0, 0, 0, 0]) {
            if !fill(stream, &mut all) {
                return;
            }
        }
        for part in answer.chunks(part) {
            if stream.write_all(part).is_err() {
                return;
            }
            if part.len() < 16 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    })
}

pub fn record(kind: u8, id: u8, contents: &[u8], padding: u8) -> Vec<u8> {
    let [high, low] = u16::try_from(contents.len()).unwrap().to_be_bytes();
    let mut record = vec![1, kind, 0, id, high, low, padding, 0];
    record.extend_from_slice(contents);
    record.extend(std::iter::repeat_n(0, padding.into()));
    record
}

pub fn end(protocol_status: u8) -> Vec<u8> {
    record(3, 1, &[0, 0, 0, 0, protocol_status, 0, 0, 0], 0)
}

#[test]
fn an_answer_is_the_same_however_its_records_are_cut() {
    let answer = [
        record(6, 1, b"Status: 200 OK\r\nContent-", 1),
        record(7, 1, b"careful", 0),
        record(6, 1, b"Type: text/plain\r\n\r", 3),
        record(6, 1, b"\nhello", 0),
        record(6, 1, b" there", 9),
        record(6, 1, b"", 0),
        end(0),
    ]
    .concat();
    for engine in ENGINES {
        for part in [1, 7, 8, 9, 1_000] {
            let origin = answers(answer.clone(), part);
            let proxy = Proxy::start(engine, &service(origin.address, ""));
            let response = get(&proxy, "/");
            assert_eq!((response.status, response.text()), (200, "hello there"), "{engine}, {part}");
        }
    }
}

#[test]
fn broken_records_are_refused_by_their_rule() {
    let head = || record(6, 1, b"Content-Type: text/plain\r\n\r\n", 0);
    let page = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec();
    for engine in ENGINES {
        for (answer, cause) in [
            (page.clone(), "upstream_bad_header:fastcgi_version"),
            (record(6, 2, b"x", 0), "upstream_bad_header:fastcgi_request"),
            (record(4, 1, b"x", 0), "upstream_bad_header:fastcgi_kind"),
            (record(3, 1, b"x", 0), "upstream_bad_header:fastcgi_end"),
            (end(2), "fastcgi_refused:overloaded"),
            (end(0), "upstream_closed_no_response"),
            (Vec::new(), "upstream_closed_no_response"),
            ([record(6, 1, b"Content-Ty", 0), end(0)].concat(), "upstream_bad_header:head_truncated"),
            ([record(6, 1, b"no field\n\n", 0), end(0)].concat(), "upstream_bad_header"),
        ] {
            let origin = answers(answer.clone(), 4_096);
            let proxy = Proxy::start(engine, &service(origin.address, "retry = { attempts = 0 }"));
            let response = get(&proxy, "/");
            let told = response.field("proxy-status").unwrap_or_default();
            assert!(response.status == 502 && told.contains(cause), "{engine}: {cause}: {told}");
        }
        for (rest, cause) in [
            (record(6, 7, b"x", 0), "upstream_bad_body"),
            (page.clone(), "upstream_bad_body"),
            // The connection ends where the answer does not.
            (record(6, 1, b"more", 0), "upstream_truncated"),
        ] {
            let origin = answers([head(), rest.clone()].concat(), 4_096);
            let proxy = Proxy::start(engine, &service(origin.address, ""));
            let mut client = Client::connect(proxy.address);
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            while client.fill() {}
            let is_told = |line: &serde_json::Value| line["cause"].as_str().is_some_and(|own| own.starts_with(cause));
            eventually(cause, || proxy.access_log().iter().any(is_told));
        }
    }
}

#[test]
fn what_comes_between_two_answers_ends_a_kept_connection() {
    let idle = [record(7, 1, b"late", 0), vec![1, 6, 0, 1], record(11, 0, &[0; 8], 0)];
    for engine in ENGINES {
        for late in &idle {
            let late = late.clone();
            let origin = Origin::raw(move |stream, _, _| {
                let mut all = Vec::new();
                loop {
                    while !all.ends_with(&[1, 5, 0, 1, 0, 0, 0, 0]) {
                        if !fill(stream, &mut all) {
                            return;
                        }
                    }
                    all.clear();
                    let answer = [record(6, 1, b"\r\nright", 0), end(0)].concat();
                    let is_sent = stream.write_all(&answer).is_ok();
                    std::thread::sleep(Duration::from_millis(20));
                    if !is_sent || stream.write_all(&late).is_err() {
                        return;
                    }
                }
            });
            let proxy = Proxy::start(engine, &service(origin.address, "fastcgi_keep_conn = true"));
            for _ in 0..3 {
                assert_eq!(get(&proxy, "/").text(), "right", "{engine}");
                std::thread::sleep(Duration::from_millis(60));
            }
            assert_eq!(origin.connections(), 3, "{engine}: none was used again");
            assert!(!proxy.process_log().contains("late"), "{engine}: it is no request's");
        }
    }
}

#[test]
fn a_post_that_was_refused_is_sent_elsewhere_and_another_one_is_not() {
    let good = || [record(6, 1, b"\r\ntaken", 0), end(0)].concat();
    for engine in ENGINES {
        // One that had begun to answer, or to speak, had begun with the request.
        let begun = |kind| [record(kind, 1, b"Status: 2", 0), end(2)].concat();
        for (answer, is_saved) in [(end(2), true), (end(0), false), (begun(6), false), (begun(7), false)] {
            let (first, second) = (answers(answer, 4_096), answers(good(), 4_096));
            let addresses = format!("\"{}\", {{ address = \"{}\", backup = true }}", first.address, second.address);
            let text = service(first.address, "").replace(&format!("\"{}\"", first.address), &addresses);
            let proxy = Proxy::start(engine, &text);
            let told = curl(&proxy, &["-d", "a=b"], "/");
            let status = if is_saved { "taken|200" } else { "|502" };
            assert!(told.ends_with(status), "{engine}: {told}");
            assert_eq!(second.connections(), usize::from(is_saved), "{engine}");
            assert!(is_saved || first.connections() == 1, "{engine}: it may have been executed");
        }
    }
}
