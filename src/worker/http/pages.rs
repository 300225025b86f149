//! Pages in the place of answers that are errors: those of `error_pages`.

use std::borrow::Cow;
use std::sync::Arc;

use super::super::engine::Transport;
use super::question::{ask_question, told};
use super::state::Exchange;
use super::underway::Underway;
use crate::failure::Failure;
use crate::filter::Chain;
use crate::filter::context::Answer;
use crate::filter::error_pages::{AskedPage, PageSource};
use crate::limits::PAGES_MAX;
use crate::proto::h1::request::RequestHead;

/// A page, and the status that it goes with.
#[derive(Debug)]
pub(super) struct Page {
    pub status: u16,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    body: Arc<[u8]>,
}

impl Page {
    /// Puts the page in the place of what an answer says of the error; its other fields stay.
    pub(super) fn replace<'p>(&'p self, answer: &mut Answer<'p>) {
        let is_ours = |name: &[u8]| self.fields.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        answer.status = self.status;
        answer.fields.retain(|(name, _)| !name.eq_ignore_ascii_case(b"content-type") && !is_ours(name));
        answer.fields.extend(self.fields.iter().map(|(name, value)| (&name[..], Cow::Borrowed(&value[..]))));
        answer.body = Cow::Borrowed(&self.body);
    }
}

/// The page for an error, of the upstream or of ours; `None` where no filter has one, or it cannot be had.
pub(super) async fn page<T: Transport>(
    exchange: &Exchange<'_, T>,
    head: &RequestHead,
    (status, failure): (u16, Option<Failure>),
) -> Option<Page> {
    // The one that is nearest to the upstream goes first.
    for chain in exchange.chains()?.into_iter().rev() {
        let Some(pages) = chain.pages_for(status, failure) else { continue };
        let found = match pages.source() {
            PageSource::Here(content_type, bytes) => {
                let fields = vec![(b"Content-Type".to_vec(), content_type.clone().into_bytes())];
                Some((status, fields, Arc::clone(bytes)))
            }
            PageSource::Service(asked) => asked_page(exchange, chain, asked, (head, status)).await,
        };
        if let Some((own, fields, body)) = found {
            return Some(Page { status: if pages.keeps_status { status } else { own }, fields, body });
        }
    }
    None
}

/// The answer of the service that has the pages, with its status.
async fn asked_page<T: Transport>(
    exchange: &Exchange<'_, T>,
    chain: &Chain,
    asked: &AskedPage,
    (head, status): (&RequestHead, u16),
) -> Option<(u16, Vec<(Vec<u8>, Vec<u8>)>, Arc<[u8]>)> {
    let _asking = Underway::begin(&exchange.worker.pages, PAGES_MAX)?;
    let question = asked.question(head, &exchange.context(chain), status);
    let reply = ask_question(exchange.worker, question).await.ok()?;
    // A part of a page is none.
    reply.is_whole.then(|| {
        let (fields, body) = told(&reply).answer();
        (reply.head.status(), fields, body.into())
    })
}
