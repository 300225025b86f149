//! The data plane: one thread per CPU, each with its own engine, listeners, pools, timers and counters.
//!
//! From the ground up: `engine` (the seam to the kernel), `buffers`, `queue`, `pressure` → `time`, `heads` → `kit` (what
//! every task has at hand) → `wire` (bytes) → `upstreams` (connections for a service) → `live` (what was published) →
//! `host` (what one worker has, and remembers) → `http` (requests: read `http/exchange.rs` first) → `accept` → `thread`. No file names one
//! above it.

mod accept;
mod buffers;
pub mod engine;
mod heads;
mod host;
pub mod http;
mod kit;
mod live;
mod passwords;
mod pressure;
mod queue;
mod remembered;
mod reply;
mod silent;
pub mod thread;
pub mod time;
mod upstreams;
mod wire;

pub use host::{Worker, WorkerSettings};
