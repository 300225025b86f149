//! Upstreams as values: which endpoint is picked, and how long a connection may be reused. No socket, no clock.

pub mod pick;
pub mod reuse;
