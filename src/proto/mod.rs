//! The protocols as pure functions of bytes: no socket, clock, task or log is known here.

pub mod coding;
pub mod gateway;
pub mod grpc_web;
pub mod h1;
pub mod h2;
pub mod stranger;
pub mod version;
