//! Ringress, a reverse proxy and ingress. The modules in the order of a request, the shells first.
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | the commands, and the wiring of what follows |
//! | [`worker`] | the data plane's shell: sockets, timers, one request's way |
//! | [`control`] | the control plane's shell: files, signals, names, publication |
//! | [`admin`] | `/ping`, `/metrics`, `/api` |
//! | [`mailbox`], [`status`], [`desk`] | how the planes speak to each other, and where workers have slow things computed |
//! | [`snapshot`], [`label`] | what a worker reads, and names as numbers |
//! | [`route`], [`filter`], [`tls`], [`config`], [`observe`] | pure: which route, what is done, whose certificate, what people write, what is seen |
//! | [`proto`], [`upstream`] | pure: HTTP, and which endpoint for how long |
//! | [`timeouts`], [`record`], [`failure`], [`limits`], [`hash`], [`sys`] | the tables, the hash, and the operating system |

pub mod admin;
pub mod cli;
pub mod clients;
pub mod config;
pub mod control;
pub mod desk;
pub mod encode;
pub mod failure;
pub mod filter;
pub mod hash;
pub mod label;
pub mod limits;
pub mod mailbox;
pub mod observe;
pub mod proto;
pub mod record;
pub mod route;
pub mod shared_list;
pub mod snapshot;
pub mod status;
pub mod sys;
pub mod timeouts;
pub mod tls;
pub mod units;
pub mod upstream;
pub mod worker;
