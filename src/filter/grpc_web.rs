//! `grpc_web`: what browsers send as gRPC-web goes on as gRPC; its answer goes back by [`super::transform`].

use super::context::Verdict;
use crate::proto::h1::request::RequestHead;

/// The filter, which has nothing to set.
pub(super) struct GrpcWeb;

impl GrpcWeb {
    pub(super) fn on_request(head: &mut RequestHead) -> Verdict<'static> {
        head.bridge_grpc_web();
        Verdict::Pass
    }
}
