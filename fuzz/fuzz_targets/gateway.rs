//! What application servers send and what they are told: nothing panics, records are the same however they are cut, no path names a file
//! outside its folder, and every packet can be read back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringress::encode::gateway::put_gateway_head;
use ringress::encode::gateway::variables::GatewayRequest;
use ringress::encode::hop::{Asked, Hop, HopFields, UpstreamTarget};
use ringress::encode::response::{Persistence, ResponseTerms, UpstreamResponse, put_response_head};
use ringress::filter::edits::FieldEdits;
use ringress::proto::gateway::Gateway;
use ringress::proto::gateway::records::RecordDecoder;
use ringress::proto::gateway::script::ScriptRules;
use ringress::proto::h1::framing::Framing;
use ringress::proto::h1::request::RequestHead;
use ringress::proto::h1::response::ResponseHead;
use ringress::proto::h1::rules::{ForwardedPath, HeadRules, Leniency};
use ringress::proto::h1::scan::HeadScan;

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 4 {
        0 => records(data),
        1 => script(data),
        2 => cgi_head(data),
        _ => variables(data),
    }
});

fn records(data: &[u8]) {
    let decode = |step: usize| {
        let (mut decoder, mut answer, mut told) = (RecordDecoder::default(), Vec::new(), Vec::new());
        for part in data.chunks(step) {
            let from = answer.len();
            answer.extend_from_slice(part);
            if let Err(fault) = decoder.decode(&mut answer, from, &mut told) {
                return (answer, told, Some(fault), false);
            }
        }
        (answer, told, None, decoder.is_over())
    };
    let whole = decode(usize::MAX);
    assert!(whole.0.len() + whole.1.len() <= data.len());
    assert!(whole == decode(1) && whole == decode(7));
}

fn script(data: &[u8]) {
    for front in [None, Some("/index.php".to_owned())] {
        let rules = ScriptRules {
            root: "/srv/www".to_owned(),
            index: "index.php".to_owned(),
            split_path: vec![".php".to_owned()],
            front_controller: front,
            must_exist: false,
        };
        let Ok(script) = rules.find(data, |_| false) else { continue };
        let file = String::from_utf8_lossy(&script.file()).into_owned();
        assert!(file.starts_with("/srv/www/") && file.ends_with(".php"), "{file}");
        assert!(!file.contains('\\') && !file.chars().any(|letter| letter.is_ascii_control()), "{file:?}");
        assert!(file.split('/').all(|segment| segment != ".." && segment != "."), "{file}");
        assert!(!file["/srv/www".len()..file.len() - 4].contains(".php/"), "{file}: the first part is the script");
    }
}

fn cgi_head(data: &[u8]) {
    let leniency = Leniency::default().of_cgi();
    let Ok(Some(length)) = HeadScan::of_response(leniency).advance(data) else { return };
    let bytes = &data[..length];
    let mut head = ResponseHead::default();
    if head.parse(bytes, false, leniency).is_err() || head.fields(bytes).count() > 2_000 {
        return;
    }
    assert!((200..=599).contains(&head.status()) && !head.keeps_alive());
    let terms = ResponseTerms {
        framing: if head.framing() == Framing::UntilClose { Framing::Chunked } else { head.framing() },
        persistence: Persistence::SaysKeepAlive,
        passes_length: head.status() == 304,
        grpc_web: None,
        now: None,
    };
    let mut out = Vec::new();
    put_response_head(&mut out, UpstreamResponse { head: &head, bytes }, &terms, [None; 4]);
    let mut again = ResponseHead::default();
    again.parse(&out, false, Leniency::default()).expect("what is written is accepted");
    assert_eq!((again.status(), again.framing()), (head.status(), terms.framing));
}

fn variables(data: &[u8]) {
    let mut text = b"POST ".to_vec();
    text.extend_from_slice(data);
    text.extend_from_slice(b" HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nProxy: evil\r\n\r\n");
    let mut head = RequestHead::default();
    if head.parse(text, HeadRules::default()).is_err() {
        return;
    }
    let client = std::net::IpAddr::from([192, 0, 2, 7]);
    let hop = Hop {
        peer: client,
        client,
        is_trusted: false,
        keeps_id: false,
        asked: Asked { scheme: "http", port: 80 },
        scheme: "http",
        client_certificate: None,
        is_early: false,
        request_id: 1,
        writes: HopFields { forwarded: true, via: true },
    };
    let target = UpstreamTarget { host: None, fallback: b"a", path: ForwardedPath::Resolved, length: None };
    let edits = FieldEdits::default();
    let request = GatewayRequest {
        head: &head,
        hop: &hop,
        target: &target,
        edits: &edits,
        client_port: 1,
        params: &[],
        script: None,
    };
    let mut packet = Vec::new();
    if put_gateway_head(&mut packet, Gateway::Uwsgi(0, 0), &request).is_err() {
        return;
    }
    let number = |at: usize| usize::from(u16::from_le_bytes([packet[at], packet[at + 1]]));
    assert_eq!(packet.len(), 4 + number(1));
    let (mut at, mut names) = (4, Vec::new());
    while at < packet.len() {
        let name = &packet[at + 2..at + 2 + number(at)];
        at += 2 + name.len();
        let value = &packet[at + 2..at + 2 + number(at)];
        at += 2 + value.len();
        assert!(!name.contains(&0) && !value.contains(&0) && name != b"HTTP_PROXY");
        names.push(name);
    }
    assert!(at == packet.len());
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "each is said once");
    let (mut netstring, mut all) = (Vec::new(), Vec::new());
    put_gateway_head(&mut netstring, Gateway::Scgi, &request).expect("it has no bound");
    put_gateway_head(&mut all, Gateway::FastCgi(false), &request).expect("they fit into a packet");
    let colon = netstring.iter().position(|byte| *byte == b':').expect("a netstring has one");
    let length: usize = std::str::from_utf8(&netstring[..colon]).expect("digits").parse().expect("digits");
    assert_eq!(netstring.len(), colon + 1 + length + 1);
    assert!(all.ends_with(&[1, 4, 0, 1, 0, 0, 0, 0]), "the variables end");
}
