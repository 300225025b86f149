//! An origin that misbehaves in one of many ways and counts how often it executed each request, and clients that
//! look closely at what they get. For tests, and for the comparison of proxies.
#![allow(dead_code, unused_imports, reason = "each program that uses it needs a part")]

pub mod load;
pub mod origin;

pub use load::{Clients, Outcome, run};
pub use origin::{MODES, Mode, Origin};
