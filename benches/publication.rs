//! What a publication costs: all of it, and the change of one service's endpoints, as the number of services grows.
//!
//! The control plane's part is compiling; the worker's is taking what was published. Medians of 9.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a bench ends at the first surprise")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a bench has a clock, and wakers cross threads"
)]
#![expect(unreachable_pub, dead_code, reason = "the world is the simulation's")]

#[path = "../tests/simulation/world.rs"]
mod world;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use ringress::config::Source;
use ringress::config::document::Syntax;
use ringress::control::compile::{Kept, Resolved, compile, recompile_service};
use ringress::worker::{Worker, WorkerSettings};
use world::World;

const ROUNDS: usize = 9;

/// As many services, each with a name for an endpoint and a route to it.
fn config(services: usize) -> String {
    let mut text = "[listeners.web]\naddress = \":80\"\n".to_owned();
    for n in 0..services {
        let _ = write!(
            text,
            "[[routes]]\nname = \"r{n}\"\nservice = \"s{n}\"\nhosts = [\"h{n}.test\"]\n\
             [services.s{n}]\nendpoints = [\"e{n}.internal:80\"]\n"
        );
    }
    text
}

/// All names with an address each; that of the first service depends on the round.
fn resolved(services: usize, round: usize) -> Resolved {
    let address = |n: usize| [10, u8::from(n == 0) * u8::try_from(round).unwrap(), 0, 1].into();
    (0..services).map(|n| (format!("e{n}.internal").into(), Ok(vec![address(n)]))).collect()
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// Runs it; how long it took, in milliseconds, is kept.
fn timed<R>(samples: &mut Vec<f64>, run: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let result = run();
    samples.push(start.elapsed().as_secs_f64() * 1e3);
    result
}

fn main() {
    println!("| services | compile all, ms | a worker takes all, ms | compile one, ms | a worker takes one, ms |");
    println!("|---|---|---|---|---|");
    for services in [100, 1_000, 10_000] {
        let source = Source::parse(&config(services), Syntax::Toml, Path::new("bench"), &|_| None).unwrap();
        let worker = Worker::new(World::new(1), WorkerSettings::alone(10));
        let mut kept = Kept::default();
        let (mut all, mut takes_all, mut one, mut takes_one) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let addresses = resolved(services, 2 * round);
            let compiled = timed(&mut all, || compile(&source, &addresses, &mut kept, 1).unwrap());
            timed(&mut takes_all, || worker.publish(&compiled.snapshot));
            kept.keep(compiled.parts);
            let addresses = resolved(services, 2 * round + 1);
            let service = timed(&mut one, || recompile_service(&source, &addresses, &mut kept, "s0").unwrap().unwrap());
            timed(&mut takes_one, || worker.publish_service(&service, 2));
            kept.keep_service(&service);
        }
        println!(
            "| {services} | {:.2} | {:.2} | {:.3} | {:.3} |",
            median(all),
            median(takes_all),
            median(one),
            median(takes_one)
        );
    }
}
