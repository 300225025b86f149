//! One stream as whoever holds it reads and writes it.

use std::task::{Context, Poll};

use super::Role;
use super::core::{ConnectionStanding, Core};
use super::fields::FieldList;
use super::frame::ErrorCode;
use super::store::ClosedBy;
use super::stream::{Incoming, SentPart, Stream, StreamEnd, StreamKey};
use crate::limits::H2_DATA_BYTES_MAX;

/// A stream of a core.
#[derive(Debug)]
pub struct Handle<'a> {
    core: &'a mut Core,
    key: StreamKey,
}

impl<'a> Handle<'a> {
    pub(super) const fn new(core: &'a mut Core, key: StreamKey) -> Self {
        Self { core, key }
    }

    fn stream(&mut self) -> Result<&mut Stream, StreamEnd> {
        self.core.store.get(self.key).ok_or(StreamEnd::ConnectionOver)
    }

    /// What was read before has gone on: the peer may send as much again.
    fn pass_on(&mut self) {
        let gone_on = self.stream().map_or(0, Stream::take_gone_on);
        if gone_on > 0 {
            self.core.pass_on(self.key, gone_on);
        }
    }

    /// Moves what has come, as text of HTTP/1.1, to the end of `inbox` as far as it has room; how many bytes that were, and 0
    /// at the end.
    pub fn poll_read(&mut self, inbox: &mut Vec<u8>, cx: &Context<'_>) -> Poll<Result<usize, StreamEnd>> {
        self.pass_on();
        match self.stream() {
            Ok(stream) => stream.poll_read(inbox, cx),
            Err(end) => Poll::Ready(Err(end)),
        }
    }

    /// What has come already, without waiting: nobody is woken for more, so a [`Self::poll_read`] must follow.
    pub fn read_at_once(&mut self, inbox: &mut Vec<u8>) -> usize {
        self.stream().ok().and_then(|stream| stream.read_at_once(inbox)).unwrap_or(0)
    }

    /// Ready once the stream is over before its time.
    pub fn poll_end(&mut self, cx: &Context<'_>) -> Poll<StreamEnd> {
        match self.stream() {
            Err(end) => Poll::Ready(end),
            Ok(stream) => {
                stream.await_receive(cx);
                stream.end.map_or(Poll::Pending, Poll::Ready)
            }
        }
    }

    /// Sends a head: an interim one, or the one that begins the answer. `is_last` where nothing follows it.
    ///
    /// # Errors
    /// The stream is over.
    pub fn put_head(&mut self, head: &FieldList, is_interim: bool, is_last: bool) -> Result<(), StreamEnd> {
        let id = self.key.id;
        let stream = self.stream()?;
        if let Some(end) = stream.end {
            return Err(end);
        }
        match (is_interim, is_last) {
            (true, _) => {}
            (false, false) => stream.outgoing = SentPart::Head,
            (false, true) => stream.outgoing = SentPart::All,
        }
        let is_answered = !is_interim && !stream.is_refused;
        if is_answered && self.core.role == Role::Server {
            self.core.guard.note_answered();
        }
        self.core.writer.put_fields(id, head, is_last);
        Ok(())
    }

    /// Sends a first part of `data`; `is_last` where the stream ends behind it, which then may be empty. Returns how much that
    /// was.
    pub fn poll_send(&mut self, data: &[u8], is_last: bool, cx: &Context<'_>) -> Poll<Result<usize, StreamEnd>> {
        let Core { store, writer, guard, role, .. } = &mut *self.core;
        let Some(stream) = store.get(self.key) else { return Poll::Ready(Err(StreamEnd::ConnectionOver)) };
        if let Some(end) = stream.end {
            return Poll::Ready(Err(end));
        }
        if data.is_empty() {
            if is_last && stream.outgoing != SentPart::All {
                stream.outgoing = SentPart::All;
                writer.put_end(stream.id);
            }
            return Poll::Ready(Ok(0));
        }
        let sent = writer.put_data(stream, data, is_last);
        if sent == 0 {
            stream.await_send(cx);
            return Poll::Pending;
        }
        if is_last && sent == data.len() {
            stream.outgoing = SentPart::All;
        }
        if *role == Role::Server {
            for part in data[..sent].chunks(H2_DATA_BYTES_MAX) {
                guard.note_sent(part.len());
            }
        }
        Poll::Ready(Ok(sent))
    }

    /// Sends trailers, which end the stream.
    ///
    /// # Errors
    /// The stream is over.
    pub fn put_trailers(&mut self, trailers: &FieldList) -> Result<(), StreamEnd> {
        let stream = self.stream()?;
        if let Some(end) = stream.end {
            return Err(end);
        }
        stream.outgoing = SentPart::All;
        self.core.writer.put_fields(self.key.id, trailers, true);
        Ok(())
    }

    /// Resets the stream, where it is not over already.
    pub fn reset(&mut self, code: ErrorCode) {
        let id = self.key.id;
        let Ok(stream) = self.stream() else { return };
        let is_over = stream.end.is_some() || stream.outgoing == SentPart::All && stream.incoming == Incoming::Ended;
        if !is_over {
            stream.end(StreamEnd::Ours);
            self.core.writer.put_reset(id, code);
        }
    }

    /// Nobody holds the stream any more. What is not at its end is reset: a message that is not whole must not look so.
    pub fn release(self) {
        let Self { core, key } = self;
        core.throw_away(key);
        let role = core.role;
        let Some(stream) = core.store.get(key) else { return };
        let (end, is_sent, is_refused) = (stream.end, stream.outgoing == SentPart::All, stream.is_refused);
        let has_ended = stream.incoming == Incoming::Ended;
        core.let_go(key);
        if core.standing == ConnectionStanding::Over || end.is_some() {
            let is_theirs = matches!(end, Some(StreamEnd::Reset(_)));
            return core.forget(key, if is_theirs { ClosedBy::Peer } else { ClosedBy::Us });
        }
        let code = match (role, is_sent) {
            (Role::Server, false) => Some(ErrorCode::Internal),
            (Role::Server, true) if is_refused => Some(ErrorCode::Protocol),
            (_, true) if has_ended => None,
            // Where all bytes are here the end, which most clients send by a frame of its own, is on its way. Where they are not, the
            // answer is whole and the rest is not wanted (RFC 9113 §8.1); but a client that is told so at once may take the reset
            // for the answer, as curl 7.88 does, so it has a moment to stop by itself.
            (Role::Server, true) => return core.drain(key),
            (Role::Client, _) => Some(ErrorCode::Cancel),
        };
        if let Some(code) = code {
            core.writer.put_reset(key.id, code);
        }
        core.forget(key, if code.is_some() { ClosedBy::Us } else { ClosedBy::Peer });
    }
}
