//! Asks a service what a filter wants to know.

use std::rc::Rc;

use super::super::engine::Transport;
use super::super::host::Worker;
use super::subrequest::{Reply, ask};
use crate::encode::subrequest::Subrequest;
use crate::failure::Failure;
use crate::filter::errand::{Question, ServiceReply};

/// The answer to a question.
///
/// # Errors
/// Those of [`ask`].
pub(super) async fn ask_question<T: Transport>(worker: &Rc<Worker<T>>, question: Question) -> Result<Reply, Failure> {
    let Question { service, method, target, host, fields, body, body_max } = question;
    ask(worker, service, &Subrequest { method, target, host, fields, body }, body_max).await
}

/// The same, as filters take it.
pub(super) fn told(reply: &Reply) -> ServiceReply<'_> {
    ServiceReply { head: &reply.head, bytes: &reply.head_bytes, body: &reply.body, is_whole: reply.is_whole }
}
