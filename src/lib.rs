//! tmp
pub mod config;
pub mod control;
pub mod failure;
pub mod filter;
pub mod limits;
pub mod mailbox;
pub mod observe;
pub mod proto;
pub mod record;
pub mod route;
pub mod snapshot;
pub mod sys;
pub mod timeouts;
pub mod upstream;
