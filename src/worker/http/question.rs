//! Asks a service what a filter wants to know.

use std::rc::Rc;

use super::super::engine::Transport;
use super::super::host::Worker;
use super::super::reply::Reply;
use super::subrequest::ask;
use crate::encode::subrequest::Subrequest;
use crate::failure::Failure;
use crate::filter::errand::{AnswerMemory, Question, ServiceReply};
use crate::limits::ANSWER_KNOWN_BYTES_MAX;
use crate::proto::h1::field::list_elements;

/// The answer to a question: the service's, or the one that is remembered where the question says so. Who asks what another request is
/// asking just now waits for its answer.
///
/// # Errors
/// Those of [`ask`].
pub(super) async fn ask_question<T: Transport>(
    worker: &Rc<Worker<T>>,
    question: Question,
) -> Result<Rc<Reply>, Failure> {
    let Question { service, method, target, host, fields, body, client_body_max: _, body_max, memory } = question;
    let request = Subrequest { method, target, host, fields, body };
    let Some(AnswerMemory { key, times, heeds_service }) = memory else {
        return ask(worker, service, &request, body_max).await.map(Rc::new);
    };
    let now_ms = || worker.kit.transport.coarse_ms();
    let number = service.number().to_be_bytes();
    let print = worker.answers.print(&[&number, &request.method, &request.target, &key]);
    let known = || worker.answers.get(&print, now_ms());
    if let Some(known) = known() {
        return Ok(known);
    }
    let asking = worker.asking.begin(print);
    if asking.is_none() {
        worker.asking.wait(print).await;
        if let Some(known) = known() {
            return Ok(known);
        }
        // It was none that is remembered: nobody waits for another one.
    }
    let reply = Rc::new(ask(worker, service, &request, body_max).await?);
    let for_ms = times.for_ms(reply.head.status());
    if let Some(for_ms) = for_ms.filter(|_| may_be_remembered(&reply, heeds_service)) {
        worker.answers.put(print, Rc::clone(&reply), now_ms(), for_ms);
    }
    drop(asking);
    Ok(reply)
}

/// True for an answer that is not too long, is not one client's alone, and is not to be asked for each time.
fn may_be_remembered(reply: &Reply, heeds_service: bool) -> bool {
    let value = |name: &[u8]| reply.head.value(name, &reply.head_bytes);
    let forbids = |value: &[u8]| {
        let forbidding: [&[u8]; 4] = [b"no-store", b"no-cache", b"private", b"max-age=0"];
        list_elements(value).any(|one| forbidding.iter().any(|own| one.eq_ignore_ascii_case(own)))
    };
    let is_forbidden = || value(b"set-cookie").is_some() || value(b"cache-control").is_some_and(forbids);
    let bytes = reply.head_bytes.len() + reply.body.len();
    reply.is_whole && (!heeds_service || bytes <= ANSWER_KNOWN_BYTES_MAX && !is_forbidden())
}

/// The same, as filters take it.
pub(super) fn told(reply: &Reply) -> ServiceReply<'_> {
    ServiceReply { head: &reply.head, bytes: &reply.head_bytes, body: &reply.body, is_whole: reply.is_whole }
}
