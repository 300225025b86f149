//! Time on a worker: one wheel for all timers, each armed by a row of [`crate::timeouts::Timeout`].

pub mod timer;
pub mod wheel;
