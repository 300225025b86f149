//! Writes one line for each exchange: `json`, `common`, `combined`, or Traefik's form.
//!
//! The text formats carry the failure record behind their own fields, so that every format says why.

use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::LogFormat;
use crate::limits::LOG_VALUE_BYTES_MAX;
use crate::proto::h1::encode::{AddressText, put_request_id};
use crate::proto::h1::field::Known;
use crate::proto::h1::request::RequestHead;
use crate::record::{Record, Times};
use crate::snapshot::{Endpoint, Route, Service};
use crate::upstream::evidence::State;

/// What a line is made of.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The exchange.
    pub record: &'a Record,
    /// The request, as far as it could be read.
    pub head: &'a RequestHead,
    /// The route that it took, if one matched.
    pub route: Option<&'a Route>,
    /// The service that it went to, which the record's positions refer to.
    pub service: Option<&'a Service>,
    /// When it was over.
    pub now: SystemTime,
    /// How many requests this worker has answered, this one included.
    pub number: u64,
}

impl Line<'_> {
    /// Appends the line with its end.
    pub fn put(&self, out: &mut Vec<u8>, format: LogFormat) {
        match format {
            LogFormat::Json => self.put_json(out),
            LogFormat::Common => self.put_common(out),
            LogFormat::Combined => {
                self.put_common(out);
                self.put_quoted_field(out, Known::Referer);
                self.put_quoted_field(out, Known::UserAgent);
            }
            LogFormat::Traefik => self.put_traefik(out),
            LogFormat::Short => self.put_short(out),
        }
        if !matches!(format, LogFormat::Json | LogFormat::Short) {
            self.put_failure_record(out);
        }
        out.push(b'\n');
    }

    fn endpoint(&self) -> Option<&str> {
        self.endpoint_at(self.record.endpoint).map(|endpoint| &*endpoint.name)
    }

    fn endpoint_at(&self, at: Option<usize>) -> Option<&Endpoint> {
        self.service?.endpoints.get(at?)
    }

    /// What the endpoint's name resolved to, where a name was written.
    fn resolved_at(&self, at: Option<usize>) -> Option<&str> {
        self.endpoint_at(at)?.resolved.as_deref()
    }

    fn route(&self) -> &str {
        self.route.map_or("", |route| &route.name)
    }

    fn service(&self) -> &str {
        self.service.map_or("", |service| &service.name)
    }

    fn put_common(&self, out: &mut Vec<u8>) {
        // Writing to a vector cannot fail, here and below.
        let _ = write!(out, "{} - - [", self.record.client);
        put_clf_time(out, self.now);
        out.extend_from_slice(b"] \"");
        put_escaped(out, self.head.method());
        out.push(b' ');
        put_escaped(out, self.head.raw_target());
        let _ = write!(out, " {}\" {} {}", self.head.version().name(), self.record.status, self.record.response_bytes);
    }

    /// `08:05:09Z 127.0.0.1 GET a.test/x 502 1.204ms 127.0.0.1:9001 connect_refused`
    fn put_short(&self, out: &mut Vec<u8>) {
        let record = self.record;
        let seconds = self.now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs() % 86_400;
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        let _ = write!(out, "{hour:02}:{minute:02}:{second:02}Z {} ", record.client);
        put_escaped(out, self.head.method());
        out.push(b' ');
        put_escaped(out, self.head.authority());
        put_escaped(out, self.head.raw_target());
        let us = record.times.total_us();
        let _ = write!(out, " {} {}.{:03}ms", record.status, us / 1_000, us % 1_000);
        for endpoint in [self.endpoint(), self.resolved_at(record.endpoint)].into_iter().flatten() {
            out.push(b' ');
            put_escaped(out, endpoint.as_bytes());
        }
        if let Some(failure) = record.failure {
            let _ = write!(out, " {failure}");
        }
        // What was saved is told, too.
        for failed in record.failed.iter().filter(|_| record.failure.is_none()) {
            let _ = write!(out, " (after {})", failed.failure);
        }
    }

    /// Traefik 1.7: CLF with referer and user agent, request number, frontend, backend URL and duration.
    fn put_traefik(&self, out: &mut Vec<u8>) {
        self.put_common(out);
        self.put_quoted_field(out, Known::Referer);
        self.put_quoted_field(out, Known::UserAgent);
        let _ = write!(out, " {} \"", self.number);
        put_escaped(out, if self.route().is_empty() { b"-" } else { self.route().as_bytes() });
        out.extend_from_slice(b"\" \"");
        match self.endpoint() {
            Some(endpoint) => {
                out.extend_from_slice(b"http://");
                put_escaped(out, endpoint.as_bytes());
            }
            None => out.push(b'-'),
        }
        let _ = write!(out, "\" {}ms", self.record.times.total_us() / 1_000);
    }

    fn put_quoted_field(&self, out: &mut Vec<u8>, known: Known) {
        out.extend_from_slice(b" \"");
        match self.head.values(known).next() {
            Some(value) => put_escaped(out, value),
            None => out.push(b'-'),
        }
        out.push(b'"');
    }

    /// ` cause=… phase=… endpoint=… attempts=…`, the connection, the times, and the attempts that failed.
    fn put_failure_record(&self, out: &mut Vec<u8>) {
        let record = self.record;
        match record.failure {
            Some(failure) => _ = write!(out, " cause={failure}"),
            None => out.extend_from_slice(b" cause=-"),
        }
        let times = &record.times;
        if let Some(address) = self.resolved_at(record.endpoint) {
            let _ = write!(out, " address=\"{}\"", address.escape_default());
        }
        let _ = write!(
            out,
            " phase={} endpoint=\"{}\" attempts={} reused={} connection_requests={} idle_ms={} age_ms={} errno={} sent_bytes={} received_bytes={} queue_us={} connect_us={} send_us={} first_byte_us={} total_us={}",
            record.phase.name(),
            self.endpoint().unwrap_or("-").escape_default(),
            record.attempts,
            record.connection.is_reused,
            record.connection.requests,
            record.connection.idle_us / 1_000,
            record.connection.age_ms,
            record.errno,
            record.sent_bytes,
            record.received_bytes,
            Times::between_us(times.started_us, times.admitted_us),
            Times::between_us(times.attempted_us, times.connected_us),
            Times::between_us(times.connected_us, times.sent_us),
            Times::between_us(times.sent_us, times.first_byte_us),
            times.total_us(),
        );
        if let Some(why) = record.no_retry {
            let _ = write!(out, " no_retry={}", why.name());
        }
        for (at, failed) in record.failed.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b" failed=\"" } else { b"," });
            let endpoint = self.endpoint_at(Some(failed.endpoint));
            let address = endpoint.map_or("-", |endpoint| endpoint.resolved.as_ref().unwrap_or(&endpoint.name));
            put_escaped(out, address.as_bytes());
            let how = if failed.connection.is_reused { "reused" } else { "fresh" };
            let state = if failed.state == State::Unknown { "-" } else { failed.state.name() };
            let acked = failed.acked_bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
            let (failure, errno, sent, us) = (failed.failure, failed.errno, failed.sent_bytes, failed.took_us);
            let _ = write!(out, " {failure} {how} errno={errno} state={state} sent={sent} acked={acked} us={us}");
        }
        if !record.failed.is_empty() {
            out.push(b'"');
        }
    }

    /// `,"no_retry":…,"failed":[…]`, where an attempt failed.
    fn put_json_attempts(&self, out: &mut Vec<u8>) {
        if let Some(why) = self.record.no_retry {
            let _ = write!(out, ",\"no_retry\":\"{}\"", why.name());
        }
        for (at, failed) in self.record.failed.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b",\"failed\":[" } else { b"," });
            out.extend_from_slice(b"{\"endpoint\":\"");
            let endpoint = self.endpoint_at(Some(failed.endpoint));
            put_escaped(out, endpoint.map_or("", |endpoint| &endpoint.name).as_bytes());
            if let Some(address) = self.resolved_at(Some(failed.endpoint)) {
                out.extend_from_slice(b"\",\"address\":\"");
                put_escaped(out, address.as_bytes());
            }
            let connection = &failed.connection;
            let _ = write!(
                out,
                "\",\"cause\":\"{}\",\"reused\":{},\"connection_requests\":{},\"idle_us\":{},\"errno\":{},\"tcp_state\":\"{}\",\"sent_bytes\":{},\"acked_bytes\":{},\"us\":{}}}",
                failed.failure,
                connection.is_reused,
                connection.requests,
                connection.idle_us,
                failed.errno,
                failed.state.name(),
                failed.sent_bytes,
                failed.acked_bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
                failed.took_us,
            );
        }
        if !self.record.failed.is_empty() {
            out.push(b']');
        }
    }

    /// Every request pays for this one, so nothing in it is formatted where it can be copied.
    fn put_json(&self, out: &mut Vec<u8>) {
        let record = self.record;
        let since = self.now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        out.extend_from_slice(b"{\"time\":\"");
        put_iso_time(out, since);
        out.extend_from_slice(b"\",\"client\":\"");
        out.extend_from_slice(AddressText::of(record.client).bytes());
        out.push(b'"');
        put_text(out, "method", self.head.method());
        put_text(out, "target", self.head.raw_target());
        put_text(out, "host", self.head.authority());
        put_text(out, "protocol", self.head.version().name().as_bytes());
        if let Some(facts) = &record.tls {
            put_text(out, "tls_version", facts.version.as_bytes());
            put_text(out, "tls_cipher", facts.cipher.as_bytes());
            put_text(out, "tls_name", facts.server_name.as_deref().unwrap_or_default().as_bytes());
            out.extend_from_slice(if record.is_early { b",\"tls_early\":true" } else { b",\"tls_early\":false" });
        }
        put_number(out, "status", u64::from(record.status));
        match record.failure {
            Some(failure) => _ = write!(out, ",\"cause\":\"{failure}\""),
            None => out.extend_from_slice(b",\"cause\":null"),
        }
        if let Some(status) = record.grpc_status {
            put_number(out, "grpc_status", u64::from(status));
        }
        put_text(out, "phase", record.phase.name().as_bytes());
        put_text(out, "route", self.route().as_bytes());
        put_text(out, "service", self.service().as_bytes());
        put_text(out, "endpoint", self.endpoint().unwrap_or_default().as_bytes());
        if let Some(address) = self.resolved_at(record.endpoint) {
            put_text(out, "address", address.as_bytes());
        }
        put_number(out, "attempts", u64::from(record.attempts));
        let connection = &record.connection;
        out.extend_from_slice(if connection.is_reused { b",\"reused\":true" } else { b",\"reused\":false" });
        let times = &record.times;
        for (key, number) in [
            ("connection_requests", u64::from(connection.requests)),
            ("idle_ms", connection.idle_us / 1_000),
            ("age_ms", connection.age_ms),
            ("tls_us", connection.tls_us),
            ("errno", u64::try_from(record.errno).unwrap_or_default()),
            ("request_bytes", record.request_bytes),
            ("response_bytes", record.response_bytes),
            ("sent_bytes", record.sent_bytes),
            ("received_bytes", record.received_bytes),
            ("queue_us", Times::between_us(times.started_us, times.admitted_us)),
            ("connect_us", Times::between_us(times.attempted_us, times.connected_us)),
            ("send_us", Times::between_us(times.connected_us, times.sent_us)),
            ("first_byte_us", Times::between_us(times.sent_us, times.first_byte_us)),
            ("total_us", times.total_us()),
        ] {
            put_number(out, key, number);
        }
        out.extend_from_slice(b",\"request_id\":\"");
        put_request_id(out, record.request_id);
        out.push(b'"');
        self.put_json_attempts(out);
        for (key, known) in [("user_agent", Known::UserAgent), ("referer", Known::Referer)] {
            if let Some(value) = self.head.values(known).next() {
                put_text(out, key, value);
            }
        }
        out.push(b'}');
    }
}

/// `,"key":"value"`, escaped.
fn put_text(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    put_key(out, key);
    out.push(b'"');
    put_escaped(out, value);
    out.push(b'"');
}

/// `,"key":number`.
fn put_number(out: &mut Vec<u8>, key: &str, number: u64) {
    put_key(out, key);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn put_key(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Bytes of a client as they may stand between quotes, in JSON and in CLF alike; cut at a bound.
fn put_escaped(out: &mut Vec<u8>, value: &[u8]) {
    let value = &value[..value.len().min(LOG_VALUE_BYTES_MAX)];
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if value.iter().all(is_plain) {
        out.extend_from_slice(value);
        return;
    }
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
                _ if is_hidden(character) => {
                    let mut units = [0; 2];
                    for unit in character.encode_utf16(&mut units) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        // What is no UTF-8 is written as in a URL.
        for byte in chunk.invalid() {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// True for a character that does not show, or changes how what is beside it shows.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Year, month, day of a day number since 1970 (Howard Hinnant's `civil_from_days`, for days from 0).
fn civil(days: u64) -> (u64, usize, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, usize::try_from(month).unwrap_or(1), day)
}

fn put_clf_time(out: &mut Vec<u8>, now: SystemTime) {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let month = MONTHS.get(month - 1).unwrap_or(&"Jan");
    let _ = write!(out, "{day:02}/{month}/{year}:{hour:02}:{minute:02}:{second:02} +0000");
}

/// `2026-11-02T08:05:09.000123Z`; years of four digits.
fn put_iso_time(out: &mut Vec<u8>, since: Duration) {
    let seconds = since.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let mut put = |mut number: u64, places: std::ops::Range<usize>| {
        for place in places.rev() {
            text[place] = b'0' + u8::try_from(number % 10).unwrap_or_default();
            number /= 10;
        }
    };
    put(year, 0..4);
    put(month as u64, 5..7);
    put(day, 8..10);
    put(hour, 11..13);
    put(minute, 14..16);
    put(second, 17..19);
    put(u64::from(since.subsec_micros()), 20..26);
    out.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use crate::proto::h1::rules::HeadRules;
    use crate::snapshot::{Label, Route};
    use crate::upstream::attempts::{ConnectionFacts, FailedAttempt};
    use crate::upstream::evidence::Evidence;
    use crate::upstream::retry::NoRetry;

    fn line(format: LogFormat) -> String {
        let mut head = RequestHead::default();
        let text = "GET /a\"b?c HTTP/1.1\r\nHost: h\r\nUser-Agent: \"x\\\u{e9}\r\n\r\n";
        head.parse(text.as_bytes().to_vec(), HeadRules::default()).unwrap();
        let mut record = Record::new(Label::default(), "192.0.2.1".parse().unwrap(), 1_000);
        record.status = 502;
        record.failure = Some(Failure::ConnectRefused);
        record.times.ended_us = 13_345;
        record.no_retry = Some(NoRetry::Attempts);
        record.failed = vec![FailedAttempt {
            endpoint: 0,
            failure: Failure::StaleReuseProven,
            evidence: Evidence::Proven,
            state: State::Close,
            acked_bytes: Some(7),
            connection: ConnectionFacts { is_reused: true, requests: 3, idle_us: 4_000, age_ms: 9, tls_us: 0 },
            errno: 32,
            sent_bytes: 70,
            took_us: 5,
        }];
        let label = Label::default();
        let route = Route { name: "bob's \"caf\u{e9}\"".into(), label, ..Route::default() };
        let now = UNIX_EPOCH + Duration::from_secs(1_709_209_845);
        let mut out = Vec::new();
        Line { record: &record, head: &head, route: Some(&route), service: None, now, number: 7 }.put(&mut out, format);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_json_line_is_json_whatever_the_client_sent() {
        let value: serde_json::Value = serde_json::from_str(&line(LogFormat::Json)).unwrap();
        assert_eq!(value["time"], "2024-02-29T12:30:45.000000Z");
        assert_eq!(value["target"], "/a\"b?c");
        assert_eq!(value["cause"], "connect_refused");
        assert_eq!(value["route"], "bob's \"caf\u{e9}\"");
        assert_eq!(value["total_us"], 12_345);
        assert_eq!(value["no_retry"], "attempts");
        let failed = serde_json::json!([{
            "endpoint": "", "cause": "stale_reuse_proven", "reused": true, "connection_requests": 3, "idle_us": 4_000,
            "errno": 32, "tcp_state": "CLOSE", "sent_bytes": 70, "acked_bytes": 7, "us": 5
        }]);
        assert_eq!(value["failed"], failed);
        assert_eq!(value["user_agent"], "\"x\\\u{e9}");
    }

    #[test]
    fn what_does_not_show_is_escaped_and_what_is_no_text_is_encoded() {
        for (value, expected) in [
            (&b"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"[..], "caf\u{e9} \u{20ac} \u{1f600}"),
            (b"a\x1bb\x7f\xc2\x85", "a\\u001bb\\u007f\\u0085"),
            ("\u{202e}x\u{2028}\u{200b}".as_bytes(), "\\u202ex\\u2028\\u200b"),
            (b"caf\xe9\xc3", "caf%E9%C3"),
        ] {
            let mut out = Vec::new();
            put_escaped(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn text_lines_carry_the_cause() {
        let common = line(LogFormat::Common);
        let start =
            "192.0.2.1 - - [29/Feb/2024:12:30:45 +0000] \"GET /a\\\"b?c HTTP/1.1\" 502 0 cause=connect_refused ";
        assert!(common.starts_with(start), "{common}");
        let end =
            " no_retry=attempts failed=\"- stale_reuse_proven reused errno=32 state=CLOSE sent=70 acked=7 us=5\"\n";
        assert!(common.ends_with(end), "{common}");
        assert!(line(LogFormat::Combined).contains(" 502 0 \"-\" \"\\\"x\\\\\u{e9}\" cause="));
        assert!(
            line(LogFormat::Traefik)
                .contains("\" 7 \"bob's \\\"caf\u{e9}\\\"\" \"-\" 12ms cause=connect_refused phase=head")
        );
    }

    #[test]
    fn dates_are_right_over_leap_years() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(47_540), (2100, 2, 28));
        assert_eq!(civil(47_541), (2100, 3, 1));
    }
}
