//! Gives a connection for a service and hears how it ended: breaker, queue, choice of an endpoint, pools, evidence.
//!
//! Whoever needs an upstream goes through it: an exchange, a request of our own, a connection without requests. It knows
//! no request and no client but a [`watch::Watch`] over somebody who may leave while he waits.
//! The way: [`admit::Destination::ask_breaker`] → [`admit::Destination::admit_at_once`], or [`admit::Destination::queue`]
//! → [`connect::connect`] → what was to be done → [`outcome::succeeds`] or [`outcome::fails`], and [`outcome::release`].

pub(crate) mod admit;
pub(crate) mod connect;
pub(crate) mod endpoint;
pub(crate) mod gate;
pub(crate) mod outcome;
mod revive;
pub(crate) mod service;
pub(crate) mod watch;
