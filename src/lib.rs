//! tmp
pub mod failure;
pub mod limits;
pub mod proto;
pub mod timeouts;
