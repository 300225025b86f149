//! The control plane, on a thread of its own: files and signals become snapshots, snapshots go to the workers.

mod access_log;
pub mod advice;
pub mod compile;
mod connect;
mod drain;
mod fetches;
mod gateway_health;
mod grpc_health;
mod health;
pub mod kubernetes;
pub mod listeners;
mod notice;
mod outage;
pub mod plane;
pub mod resolve;
mod retirement;
pub mod signals;
mod sources;
mod supervisor;
