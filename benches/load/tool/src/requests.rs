//! The bytes that a workload sends, made before anything is measured.

use clap::Args;

use crate::websocket;

/// What is asked for.
#[derive(Args, Clone)]
pub struct Workload {
    /// Path of the origin; with routes it stands behind their prefix.
    #[arg(long, default_value = "/200")]
    path: String,
    /// Bytes of a request's body: POST instead of GET.
    #[arg(long, default_value_t = 0)]
    body: usize,
    /// The body is chunked, in pieces of 1 KiB.
    #[arg(long)]
    chunked: bool,
    /// The fields of a browser's request, 20 and 1.5 KiB, instead of the one that must be.
    #[arg(long)]
    browser: bool,
    /// Requests go round over so many routes: hosts h0.example…, prefixes /app0/….
    #[arg(long, default_value_t = 0)]
    routes: usize,
    /// Requests that are sent at once on a connection, the next ones when all are answered.
    #[arg(long, default_value_t = 1)]
    pipeline: usize,
    /// A new connection for each request.
    #[arg(long)]
    pub close: bool,
    /// Messages of 125 bytes over WebSocket instead of requests.
    #[arg(long, conflicts_with_all = ["close", "body", "routes", "pipeline"])]
    pub websocket: bool,
}

/// Bytes that are sent at once, and what must come back.
pub struct Batch {
    pub bytes: Vec<u8>,
    pub requests: usize,
    /// Bytes of the body of each answer; of a WebSocket message, the whole frame.
    pub answer: u64,
}

/// Fields beside Host as a browser sends them; with the request line some 1.5 KiB.
const BROWSER: [(&str, &str); 19] = [
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    ),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"),
    ("Accept-Language", "de-CH,de;q=0.9,fr;q=0.8,en-US;q=0.7,en;q=0.6"),
    ("Accept-Encoding", "identity"),
    ("Cache-Control", "max-age=0"),
    ("DNT", "1"),
    ("Sec-CH-UA", "\"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\""),
    ("Sec-CH-UA-Mobile", "?0"),
    ("Sec-CH-UA-Platform", "\"Linux\""),
    ("Upgrade-Insecure-Requests", "1"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-User", "?1"),
    ("Sec-Fetch-Dest", "document"),
    ("Referer", "https://www.example.com/catalogue/garden/tools/hand-tools?page=3&sort=price&direction=ascending"),
    (
        "Authorization",
        "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkEgUmVhZGVyIn0.c2lnbmF0dXJl",
    ),
    ("X-Requested-With", "XMLHttpRequest"),
    ("X-Correlation-Id", "5f0c6a0e-2f3b-4f0e-9a55-0c0ffee0c0de"),
    (
        "Cookie",
        concat!(
            "session=3b1f8e0a9d7c4e52b6a1f0c9e8d7a6b5; preferences=theme%3Ddark%26density%3Dcompact%26currency%3DCHF; ",
            "consent=necessary.analytics.2026-10-01T08%3A15%3A30Z; _ga=GA1.1.1234567890.1760000000; ",
            "_ga_ABCDEF1234=GS2.1.s1760000000$o3$g1$t1760000100$j60$l0$h0; basket=17f3a2c4-9b0d-4c55-8e11-2f6f0a7d9c31; ",
            "ab=checkout-b.search-a.banner-c; csrf=Zm9vYmFyYmF6cXV4; last_seen=garden-hose-25m.secateurs.watering-can; ",
            "experiments=eyJuYXYiOiJ3aWRlIiwiZm9udCI6InNlcmlmIiwiY2FydCI6InNsaWRlIn0"
        ),
    ),
];

impl Workload {
    /// The batches, which connections take round and round.
    pub fn batches(&self) -> Vec<Batch> {
        if self.websocket {
            let bytes = websocket::masked(&[b'm'; websocket::LONGEST]);
            return vec![Batch { bytes, requests: 1, answer: 2 + websocket::LONGEST as u64 }];
        }
        // A stride that is prime to the number of routes: neighbours are not asked for one after the other.
        let routes = self.routes.max(1);
        (0..routes)
            .map(|number| Batch {
                bytes: (0..self.pipeline).flat_map(|at| self.request((number + at) * 7_919 % routes)).collect(),
                requests: self.pipeline,
                answer: self.answer(),
            })
            .collect()
    }

    fn answer(&self) -> u64 {
        match &self.path[..] {
            "/chunked" => 4 << 10,
            sized => {
                let (digits, unit) = sized[1..].split_at(sized[1..].trim_end_matches(['k', 'm']).len());
                let shift = match unit {
                    "k" => 10,
                    "m" => 20,
                    _ => 0,
                };
                digits.parse::<u64>().expect("a path of the origin") << shift
            }
        }
    }

    fn request(&self, route: usize) -> Vec<u8> {
        let method = if self.body > 0 { "POST" } else { "GET" };
        let (host, prefix) = match self.routes {
            0 => ("localhost".to_owned(), String::new()),
            _ => (format!("h{route}.example"), format!("/app{route}")),
        };
        let mut head = format!("{method} {prefix}{} HTTP/1.1\r\nHost: {host}\r\n", self.path);
        if self.browser {
            BROWSER.iter().for_each(|(name, value)| head.extend([name, ": ", value, "\r\n"]));
        }
        if self.close {
            head.push_str("Connection: close\r\n");
        }
        let mut bytes = head.into_bytes();
        if self.chunked {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for start in (0..self.body).step_by(1024) {
                let size = 1024.min(self.body - start);
                bytes.extend_from_slice(format!("{size:x}\r\n{}\r\n", "b".repeat(size)).as_bytes());
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else if self.body > 0 {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", self.body).as_bytes());
            bytes.resize(bytes.len() + self.body, b'b');
        } else {
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        workload: Workload,
    }

    fn batches(words: &str) -> Vec<Batch> {
        Line::parse_from(["x"].into_iter().chain(words.split_whitespace())).workload.batches()
    }

    #[test]
    fn a_browser_s_head_has_twenty_fields_and_one_and_a_half_kibibytes() {
        let head = String::from_utf8(batches("--browser --routes 100")[1].bytes.clone()).unwrap();
        assert_eq!(head.lines().count(), 1 + 20 + 1);
        assert!((1_400..1_600).contains(&head.len()), "{}", head.len());
    }

    #[test]
    fn every_route_is_asked_for_once_in_a_round() {
        let mut lines: Vec<_> = batches("--routes 10000")
            .iter()
            .map(|batch| String::from_utf8(batch.bytes.clone()).unwrap().lines().next().unwrap().to_owned())
            .collect();
        lines.sort();
        lines.dedup();
        assert_eq!(lines.len(), 10_000);
    }

    #[test]
    fn answers_are_as_long_as_their_path_says() {
        assert_eq!(batches("--path /16k")[0].answer, 16 << 10);
        assert_eq!(batches("--path /200")[0].answer, 200);
        assert_eq!(batches("--path /1m --body 4096")[0].answer, 1 << 20);
    }
}
