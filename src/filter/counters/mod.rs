//! What is counted for the whole process: how often, and how many at once, by keys that requests have.

pub mod in_flight;
pub mod rate;
pub mod table;
