//! Writes heads from what was parsed and what this hop knows: requests for upstreams, responses and answers for clients.
//!
//! A head is written once, for the wire that it goes out on: as text for HTTP/1.1, as fields for HTTP/2. No byte of a
//! peer's head passes unparsed, and nothing that was written here is parsed again.

pub mod answer;
pub mod gateway;
pub mod grpc;
pub mod hop;
pub mod request;
pub mod response;
pub mod subrequest;
pub mod trailers;
pub mod wire;
