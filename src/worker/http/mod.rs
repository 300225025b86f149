//! HTTP for clients: connections, requests, and requests of our own.
//!
//! A request's way: `serve` (a connection of HTTP/1; `streams` has one of HTTP/2) → `exchange` (one request; read it first)
//! → `attempt`, as often as `upstream/attempts.rs` says, each a `transfer`: `upload` beside `download` → `wire/tunnel.rs` after
//! an upgrade → `settle` (failures become answers). `account` gathers what its record says. `subrequest` is a request of our own.

mod account;
mod answer_head;
mod attempt;
mod body;
mod bound;
mod buffered;
mod copies;
mod discard;
mod download;
mod duplex;
mod exchange;
mod held;
mod judge;
mod pages;
mod progress;
mod question;
pub mod serve;
mod session;
mod settle;
mod state;
mod streams;
pub mod subrequest;
mod terms;
mod throttle;
mod transfer;
mod underway;
mod upload;
mod way;
