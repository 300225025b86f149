//! Reads a head of the upstream's answer, and writes what the client gets of it.

use super::super::engine::Transport;
use super::super::upstreams::outcome::{self, AnswerFacts};
use super::super::wire::ends::Outlet;
use super::judge;
use super::progress::Expectation;
use super::terms::terms;
use super::transfer::Transfer;
use crate::encode::response::{
    ResponseTerms, UpstreamResponse, h2_interim, h2_response, put_interim_head, put_response_head,
};
use crate::encode::wire::Wire;
use crate::failure::{Failure, Phase};
use crate::filter::edits::FieldEdits;
use crate::filter::encoder::Recoding;
use crate::proto::h1::framing::Framing;
use crate::proto::version::Version;
use crate::upstream::reuse::UpstreamWord;

/// A final head that was encoded for the client.
pub(super) struct FinalHead {
    pub framing: Framing,
    pub terms: ResponseTerms,
    pub word: UpstreamWord,
    pub is_upgrade: bool,
    pub binds: bool,
    /// What filters do with it; boxed, for most answers pass as they are, and a head is handed on several times.
    pub filtered: Option<Box<FilteredHead>>,
}

/// What filters do with an answer.
pub(super) enum FilteredHead {
    /// The coding of its body changes.
    Recoded(Recoding),
    /// A page goes in its place, and nothing of it was encoded; the client gets these fields all the same.
    Replaced(Vec<(Vec<u8>, Vec<u8>)>),
}

/// Fields of an answer in whose place a page goes that say what the client shall do now.
fn kept_fields(UpstreamResponse { head, bytes }: UpstreamResponse<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    const KEPT: [&[u8]; 5] = [b"www-authenticate", b"allow", b"retry-after", b"content-range", b"set-cookie"];
    let is_kept = |name: &[u8]| KEPT.iter().any(|kept| name.eq_ignore_ascii_case(kept));
    let fields = head.fields(bytes).filter(|(_, name, _)| is_kept(name));
    fields.map(|(_, name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// What a head in the inbox was.
pub(super) enum HeadKind {
    Interim,
    Final(FinalHead),
}

/// Where a head of the answer goes.
pub(super) struct AnswerHead<'d, 'a, T: Transport> {
    pub transfer: &'a Transfer<'a, T>,
    pub client: &'d mut Outlet<T>,
    /// What is encoded for the client.
    pub out: &'d mut Vec<u8>,
}

impl<T: Transport> AnswerHead<'_, '_, T> {
    /// Parses a complete head and encodes what the client gets of it.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<HeadKind, Failure> {
        let transfer = self.transfer;
        let account = transfer.account;
        let mut parsed = transfer.worker.response_head.borrow_mut();
        parsed.parse(bytes, transfer.head.method() == b"HEAD", transfer.spec().leniency())?;
        let response = UpstreamResponse { head: &parsed, bytes };
        if parsed.is_interim() {
            self.put_interim(response);
            return Ok(HeadKind::Interim);
        }
        let is_upgrade = judge::is_upgrade(transfer, response)?;
        transfer.note_status(response);
        if judge::wants_length(transfer, response) {
            return Err(Failure::UpstreamLengthRequired);
        }
        if judge::is_tried_elsewhere(transfer, response) {
            return Err(Failure::UpstreamStatus);
        }
        let kit = transfer.kit();
        account.note_first_byte(kit.transport.now_us());
        let took_us = account.waited_us(kit.transport.now_us());
        let answer = AnswerFacts { is_stream: transfer.is_stream, status: parsed.status(), took_us };
        let mut admission = transfer.admission.borrow_mut();
        outcome::succeeds(kit, transfer.to, transfer.permit, &transfer.connection, answer, admission.as_mut());
        account.enter(Phase::Body);
        let is_replaced = !is_upgrade && transfer.is_replaced(parsed.status());
        let (edits, recoding) = if is_replaced { (None, None) } else { transfer.edits_of(response) };
        let terms = terms(transfer, response, recoding.is_some());
        let filtered = match recoding {
            Some(recoding) => Some(Box::new(FilteredHead::Recoded(recoding))),
            None => is_replaced.then(|| Box::new(FilteredHead::Replaced(kept_fields(response)))),
        };
        if !is_replaced {
            self.put_final(response, &terms, edits.as_ref())?;
        }
        let word = UpstreamWord {
            keeps_alive: parsed.keeps_alive(),
            idle_s_max: parsed.idle_s_max(),
            requests_max: parsed.requests_max(),
        };
        let binds = transfer.head.binds_connection() || parsed.binds_connection(bytes);
        let framing = parsed.framing();
        Ok(HeadKind::Final(FinalHead { framing, terms, word, is_upgrade, binds, filtered }))
    }

    fn put_final(
        &mut self,
        response: UpstreamResponse<'_>,
        terms: &ResponseTerms,
        own: Option<&FieldEdits>,
    ) -> Result<(), Failure> {
        let edits = self.transfer.edits_with(response.head.status(), own);
        match self.client.wire() {
            Wire::Http1 => put_response_head(self.out, response, terms, edits),
            Wire::H2 => {
                let head = h2_response(response, terms, edits);
                let head = head.ok_or(Failure::UpstreamBadHeader("websocket_accept"))?;
                // A 101 has no body, but the tunnel goes on over its stream.
                let is_last = terms.framing.is_empty() && response.head.status() != 101;
                self.client.put_head(head, is_last);
            }
        }
        Ok(())
    }

    /// 100 goes to a client that waits for it, other interim responses to every client but those of HTTP/1.0.
    fn put_interim(&mut self, response: UpstreamResponse<'_>) {
        let Transfer { progress, head, .. } = *self.transfer;
        let is_continue = response.head.status() == 100;
        let passes = if is_continue {
            head.expects_continue() && progress.expectation.replace(Expectation::Met) != Expectation::Met
        } else {
            head.version() != Version::Http10
        };
        if !passes {
            return;
        }
        progress.has_interim.set(progress.has_interim.get() || !is_continue);
        let edits = self.transfer.edits.of_response(true, response.head.status());
        match self.client.wire() {
            Wire::Http1 => put_interim_head(self.out, response, edits),
            Wire::H2 => {
                self.client.put_head(h2_interim(response, edits), false);
            }
        }
    }
}
