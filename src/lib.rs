//! tmp
pub mod config;
pub mod failure;
pub mod filter;
pub mod limits;
pub mod proto;
pub mod route;
pub mod timeouts;
pub mod upstream;
