//! What is decided about upstreams: which endpoint, how long its connections are good for, whether to try again.

pub mod attempts;
pub mod balance;
pub mod breaker;
pub mod candidates;
pub mod ejection;
pub mod evidence;
pub mod gate;
pub mod habit;
pub mod health;
pub mod latency;
pub mod pick;
pub mod predicate;
pub mod retry;
pub mod reuse;
pub mod ring;
pub mod sticky;
pub mod trip;
pub mod trouble;
