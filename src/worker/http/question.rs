//! Asks a service what a filter wants to know.

use std::rc::Rc;

use super::super::engine::Transport;
use super::super::host::Worker;
use super::super::reply::Reply;
use super::subrequest::ask;
use crate::encode::subrequest::Subrequest;
use crate::failure::Failure;
use crate::filter::errand::{Question, ServiceReply};
use crate::limits::ANSWER_KNOWN_BYTES_MAX;

/// The answer to a question: the service's, or the one that is remembered where the question says so.
///
/// # Errors
/// Those of [`ask`].
pub(super) async fn ask_question<T: Transport>(
    worker: &Rc<Worker<T>>,
    question: Question,
) -> Result<Rc<Reply>, Failure> {
    let Question { service, method, target, host, fields, body, body_max, memory } = question;
    let now_ms = || worker.kit.transport.coarse_ms();
    let print = memory.as_ref().map(|memory| {
        let service = service.number().to_be_bytes();
        worker.answers.print(&[&service, &method, &target, &memory.key])
    });
    if let Some(known) = print.and_then(|print| worker.answers.get(&print, now_ms())) {
        return Ok(known);
    }
    let reply = Rc::new(ask(worker, service, &Subrequest { method, target, host, fields, body }, body_max).await?);
    let for_ms = memory.and_then(|memory| memory.times.for_ms(reply.head.status()));
    if let (Some(print), Some(for_ms)) = (print, for_ms)
        && may_be_remembered(&reply)
    {
        worker.answers.put(print, Rc::clone(&reply), now_ms(), for_ms);
    }
    Ok(reply)
}

/// One that sets a cookie is one client's alone.
fn may_be_remembered(reply: &Reply) -> bool {
    let bytes = reply.head_bytes.len() + reply.body.len();
    bytes <= ANSWER_KNOWN_BYTES_MAX && reply.is_whole && reply.head.value(b"set-cookie", &reply.head_bytes).is_none()
}

/// The same, as filters take it.
pub(super) fn told(reply: &Reply) -> ServiceReply<'_> {
    ServiceReply { head: &reply.head, bytes: &reply.head_bytes, body: &reply.body, is_whole: reply.is_whole }
}
