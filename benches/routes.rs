//! The cost of finding a route, as the number of routes grows.
#![expect(clippy::unwrap_used, reason = "a bench ends at the first surprise")]
#![expect(clippy::disallowed_methods, reason = "a bench has a clock")]

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use ringress::config::Source;
use ringress::config::document::Syntax;
use ringress::control::compile::{Kept, Resolved, compile};
use ringress::proto::h1::request::RequestHead;
use ringress::proto::h1::rules::HeadRules;

/// As many routes, each with a host of its own and two paths; every tenth is a wildcard.
fn config(routes: usize) -> String {
    let mut text = "[listeners.web]\naddress = \":80\"\n[services.s]\nendpoints = [\"10.0.0.1:80\"]\n".to_owned();
    for n in 0..routes {
        let host = if n % 10 == 0 { format!("*.wild{n}.example.com") } else { format!("host{n}.example.com") };
        let route = format!(
            "[[routes]]\nname = \"r{n}\"\nservice = \"s\"\nhosts = [\"{host}\"]\npaths = [{{ prefix = \"/api/v{}\" }}, {{ exact = \"/login\" }}]\n",
            n % 7
        );
        text.push_str(&route);
    }
    text
}

fn main() {
    const LOOKUPS: u32 = 1_000_000;
    println!(
        "| routes | lookup, ns (median of 7) | read and decode, ms | compile, ms | again with one route changed, ms |\n|---|---|---|---|---|"
    );
    for routes in [10, 1_000, 10_000] {
        let text = config(routes);
        let start = Instant::now();
        let source = Source::parse(&text, Syntax::Toml, Path::new("bench"), &|_| None).unwrap();
        let read_ms = start.elapsed().as_secs_f64() * 1e3;
        let start = Instant::now();
        let mut kept = Kept::default();
        let compiled = compile(&source, &Resolved::new(), &mut kept, 1).unwrap();
        let compile_ms = start.elapsed().as_secs_f64() * 1e3;
        let snapshot = compiled.snapshot;
        kept.keep(compiled.parts);
        let changed = text.replacen("exact = \"/login\"", "exact = \"/signin\"", 1);
        let changed = Source::parse(&changed, Syntax::Toml, Path::new("bench"), &|_| None).unwrap();
        let start = Instant::now();
        let again = compile(&changed, &Resolved::new(), &mut kept, 2).unwrap();
        let again_ms = start.elapsed().as_secs_f64() * 1e3;
        drop(again);
        let heads: Vec<_> = (0..64)
            .map(|at| {
                let n = at * routes / 64;
                let host = if n % 10 == 0 { format!("a.wild{n}.example.com") } else { format!("host{n}.example.com") };
                let mut head = RequestHead::default();
                let text = format!("GET /api/v{}/users/17?x=1 HTTP/1.1\r\nHost: {host}\r\n\r\n", n % 7);
                head.parse(text.into_bytes(), HeadRules::default()).unwrap();
                assert_eq!(snapshot.listeners[0].table.router.find(&head), Some(n));
                head
            })
            .collect();
        let mut samples: Vec<_> = (0..7)
            .map(|_| {
                let start = Instant::now();
                for at in 0..LOOKUPS {
                    black_box(snapshot.listeners[0].table.router.find(black_box(&heads[at as usize % heads.len()])));
                }
                start.elapsed().as_secs_f64() * 1e9 / f64::from(LOOKUPS)
            })
            .collect();
        samples.sort_by(f64::total_cmp);
        println!("| {routes} | {:.0} | {read_ms:.0} | {compile_ms:.1} | {again_ms:.1} |", samples[3]);
    }
}
