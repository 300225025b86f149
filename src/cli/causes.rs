//! `ringress explain-cause`: what a cause means, what usually causes it and what to do; and the page of all of them.

use std::fmt::Write as _;

use super::arguments::CONFIGURATION;
use crate::failure::remedy::remedy_of;
use crate::failure::row::EvidenceSource;
use crate::failure::{ALL, Failure};
use crate::upstream::evidence::Evidence;
use crate::upstream::retry::{Again, Attempted, NonIdempotent, Retry, RetryOn, decide};

/// Explains a cause as logs write it, with or without its detail; lists all where none is given.
pub(super) fn explain(name: Option<&str>, markdown: bool) -> i32 {
    let Some(name) = name else {
        print!("{}", if markdown { page() } else { list() });
        return 0;
    };
    let bare = name.split(':').next().unwrap_or(name);
    if let Some(failure) = causes().find(|failure| failure.row().cause == bare) {
        print!("{}", told(failure, name.split_once(':').map(|(_, detail)| detail)));
        return 0;
    }
    let of_token: Vec<_> = causes().filter(|failure| failure.row().token == bare && !bare.is_empty()).collect();
    if !of_token.is_empty() {
        let which = if of_token.len() == 1 { "this" } else { "one of these, which its `details` tell apart" };
        println!("`{bare}` in Proxy-Status stands for {which}:\n");
        print!("{}", of_token.into_iter().map(|failure| told(failure, None)).collect::<Vec<_>>().join("\n"));
        return 0;
    }
    let holding = causes().map(|failure| failure.row().cause).find(|known| bare.len() > 5 && known.contains(bare));
    let by_distance =
        || causes().map(|failure| failure.row().cause).min_by_key(|known| strsim::damerau_levenshtein(known, bare));
    let nearest = holding.or_else(by_distance);
    eprintln!(
        "no cause is called `{bare}`; did you mean `{}`? `ringress explain-cause` lists all",
        nearest.unwrap_or("")
    );
    CONFIGURATION
}

/// Every cause once.
fn causes() -> impl Iterator<Item = Failure> {
    ALL.into_iter()
        .enumerate()
        .filter(|(at, failure)| ALL.iter().position(|other| other.row().cause == failure.row().cause) == Some(*at))
        .map(|(_, failure)| failure)
}

/// What is known of a failure; `detail` is what stood behind its cause.
fn told(failure: Failure, detail: Option<&str>) -> String {
    let row = failure.row();
    let remedy = detail.and_then(|detail| remedy_of(row.cause, detail)).unwrap_or(row.remedy);
    let mut text = format!("{}: {}\n", row.cause, row.meaning);
    let token = if row.token.is_empty() { "none" } else { row.token };
    // Writing to a string cannot fail, here and below.
    let _ = write!(
        text,
        "\n  status        {}\n  Proxy-Status  {token}\n  usually       {}\n  what to do    {}\n  tried again   {}\n",
        row.status,
        row.usually,
        remedy,
        retry_in_words(failure)
    );
    text
}

fn list() -> String {
    let mut text = String::new();
    for failure in causes() {
        let _ = writeln!(text, "{}  {:<28} {}", failure.row().status, failure.row().cause, failure.row().meaning);
    }
    text
}

fn page() -> String {
    let mut text = String::from(
        "# Failures\n\n\
         Rendered by `ringress explain-cause --markdown` from the table that the program runs with (`src/failure/`, `src/upstream/retry.rs`).\n\
         Every answer that is not the upstream's own carries its cause in `Proxy-Status` (and on its page, where a listener has `details = \"body\"`); the access log\n\
         and the metrics have it in any case.\n\
         Status 499, and every status once a response has begun, is logged only.\n\n\
         *Again* says where a request goes after this failure: idempotent requests, then others under `retry.non_idempotent = \"proof\"` (the default), `\"reused\"` and\n\
         `\"always\"`. *same*: the same endpoint on a new connection, once, for nothing. *other*: another endpoint, within `retry.attempts` and, unless no upstream can have\n\
         seen the request, within the budget (30 at once, 3 a second, or a fifth of the requests in flight). *asked*: only where `retry.on` or `retry.on_status` says so.\n\n",
    );
    text.push_str("| cause | status | Proxy-Status | meaning | again |\n|---|---|---|---|---|\n");
    for failure in causes() {
        let row = failure.row();
        // Of an attempt only: what the client gets is the answer as it came.
        let status = if matches!(failure, Failure::UpstreamStatus | Failure::NoErrorPage(_)) {
            "as it came".to_owned()
        } else {
            row.status.to_string()
        };
        let again = retry_in_words(failure);
        let _ = writeln!(text, "| `{}` | {status} | {} | {} | {again} |", row.cause, row.token, row.meaning);
    }
    text.push_str("\n## What usually causes them, and what to do\n");
    for failure in causes() {
        let row = failure.row();
        let _ = write!(text, "\n### {}\n\n{}\n{}\n\n*Do:* {}\n", row.cause, row.meaning, row.usually, row.remedy);
    }
    text
}

/// Where a request goes after this failure, asked of the function that decides it.
fn retry_in_words(failure: Failure) -> String {
    let of = |is_idempotent, non_idempotent| {
        let asked = vec![RetryOn::HeaderTimeout, RetryOn::BadResponse];
        let rules = Retry { non_idempotent, on: asked, ..Retry::default() };
        let unasked = Retry { on: Vec::new(), ..rules.clone() };
        let evidence = [Evidence::Unsent, Evidence::Proven, Evidence::Likely]
            .into_iter()
            .find(|evidence| evidence.failure() == failure)
            .unwrap_or(match failure.handling().evidence {
                EvidenceSource::Proof => Evidence::Proven,
                EvidenceSource::None | EvidenceSource::Unsent | EvidenceSource::Kernel | EvidenceSource::Delivered => {
                    Evidence::None
                }
            });
        let attempted = |is_reused| Attempted {
            failure,
            evidence,
            is_reused,
            is_idempotent,
            has_client_bytes: false,
            is_upgrade: false,
            is_body_held: true,
            was_stale: false,
            was_closed: false,
            was_delivered: false,
            retries: 0,
            is_late: false,
        };
        let word = |again| match again {
            Ok(Again::SameEndpoint) => "same",
            Ok(Again::OtherEndpoint { .. }) => "other",
            Err(_) => "no",
        };
        let fresh = word(decide(&rules, &attempted(false)));
        let reused = word(decide(&rules, &attempted(true)));
        let is_asked = failure == Failure::UpstreamStatus || word(decide(&unasked, &attempted(false))) != fresh;
        match (is_asked && fresh != "no", fresh == reused) {
            (true, _) => format!("{fresh} if asked"),
            (false, true) => fresh.to_owned(),
            (false, false) => format!("reused {reused}, new {fresh}"),
        }
    };
    let idempotent = of(true, NonIdempotent::Proof);
    let others = [NonIdempotent::Proof, NonIdempotent::Reused, NonIdempotent::Always].map(|rule| of(false, rule));
    if idempotent == "no" {
        return "never".to_owned();
    }
    let first = &others[0];
    let others = if others.iter().all(|other| other == first) { first.clone() } else { others.join(" / ") };
    format!("{idempotent}; others {others}")
}
