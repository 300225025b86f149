//! What all parts of a connection share: its streams, what goes out, what may come in, and where it stands.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use super::Role;
use super::frame::ErrorCode;
use super::guard::{Bounded, Excess, Guard};
use super::message::{BlockFields, Carried};
use super::reader::ConnectionFault;
use super::store::{ClosedBy, StreamStore};
use super::stream::{Incoming, Stream, StreamEnd, StreamKey};
use super::window::{Bandwidth, ConnectionWindow, WindowBudget};
use super::writer::FrameWriter;
use crate::limits::{H2_CONNECTION_WINDOW_BYTES, H2_STREAMS_MAX};
use crate::proto::h1::fault::RequestFault;

/// The payload of a PING that measures a round trip.
pub(super) const MEASURE: [u8; 8] = *b"measure\0";

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionStanding {
    /// Streams may begin.
    Open,
    /// No stream may begin; those that have come to their end.
    Leaving,
    /// Nothing is read any more.
    Over,
}

/// A request that nobody has taken yet.
#[derive(Debug)]
pub struct NewRequest {
    /// Its stream.
    pub key: StreamKey,
    /// Its head as one of HTTP/1.1; a part of it where it is malformed.
    pub head: Vec<u8>,
    /// How its body comes, or what is wrong with it: then it is to be refused.
    pub carried: Result<Carried, RequestFault>,
}

/// A request that is begun once it is known whether it has a body.
#[derive(Debug)]
pub(super) struct Undecided {
    pub key: StreamKey,
    pub fields: BlockFields,
}

/// What the parts of a connection share.
#[derive(Debug)]
pub(super) struct Core {
    pub role: Role,
    pub store: StreamStore,
    pub writer: FrameWriter,
    pub window: ConnectionWindow,
    pub bandwidth: Bandwidth,
    pub guard: Guard,
    pub budget: Rc<WindowBudget>,
    pub standing: ConnectionStanding,
    /// Streams of the peer up to this one were or will be looked at; above it none, once it was told so.
    pub last_of_peer: u32,
    /// The highest stream that the peer has begun, looked at or not.
    pub highest_of_peer: u32,
    pub last_told: Option<u32>,
    /// The next stream of ours.
    pub next_id: u32,
    /// Streams that somebody holds.
    pub held: usize,
    /// Bytes of their requests' heads.
    pub heads_bytes: usize,
    /// Those who wait until the peer has said what it takes.
    pub untold: Vec<Waker>,
    /// Streams of a client that nobody has accepted yet.
    pub accepted: VecDeque<NewRequest>,
    /// Those that wait until it is known whether they have a body.
    pub undecided: Vec<Undecided>,
    /// Those whose end alone is still to come.
    pub draining: VecDeque<StreamKey>,
    /// The clock that [`super::connection::Connection::receive`] is told, in milliseconds.
    pub now_ms: u64,
    /// Why the peer was told to leave, or the connection ended.
    pub fault: Option<ConnectionFault>,
}

impl Core {
    /// Of a connection that begins. `window_max` is what the window of a stream is raised to at most, in bytes.
    pub(super) fn new(role: Role, window_max: u32, budget: Rc<WindowBudget>, mut writer: FrameWriter) -> Self {
        let (window, increment) = ConnectionWindow::new(H2_CONNECTION_WINDOW_BYTES);
        writer.put_window_update(0, increment);
        Self {
            role,
            store: StreamStore::default(),
            writer,
            window,
            bandwidth: Bandwidth::new(window_max),
            guard: Guard::default(),
            budget: WindowBudget::share(budget),
            standing: ConnectionStanding::Open,
            last_of_peer: 0,
            highest_of_peer: 0,
            last_told: None,
            next_id: 1,
            held: 0,
            heads_bytes: 0,
            untold: Vec::new(),
            accepted: VecDeque::new(),
            undecided: Vec::new(),
            draining: VecDeque::new(),
            now_ms: 0,
            fault: None,
        }
    }

    /// True where a further stream to an upstream may begin.
    pub(super) fn has_room(&self) -> bool {
        self.standing == ConnectionStanding::Open && self.held < self.writer.streams_max() && self.next_id < 1 << 31
    }

    /// True where nothing is left to be done but to send what waits and to part.
    pub(super) fn is_over(&self) -> bool {
        let has_left =
            self.standing == ConnectionStanding::Leaving && self.last_told.is_some_and(|last| last < u32::MAX >> 1);
        self.standing == ConnectionStanding::Over || has_left && self.held == 0 && self.draining.is_empty()
    }

    /// True for a stream that has not begun.
    pub(super) const fn is_idle(&self, id: u32) -> bool {
        match (self.role, id % 2) {
            (Role::Server, 1) => id > self.highest_of_peer,
            (Role::Client, 1) => id >= self.next_id,
            _ => true,
        }
    }

    /// Counts one of what a client is allowed so many of.
    pub(super) fn bound(&mut self, what: Bounded) -> Result<(), ConnectionFault> {
        if self.role == Role::Client {
            // An upstream's frames cost us no more than we asked for.
            return Ok(());
        }
        let taken = self.guard.take(what);
        self.act(taken)
    }

    /// Does what is to be done about a client that may be beyond a bound.
    pub(super) fn act(&mut self, taken: Result<(), Excess>) -> Result<(), ConnectionFault> {
        match taken {
            Ok(()) => Ok(()),
            Err(Excess::Leave(what)) => {
                self.fault = Some(ConnectionFault { name: what.name(), code: ErrorCode::EnhanceYourCalm });
                self.standing = ConnectionStanding::Leaving;
                self.last_told = Some(self.last_of_peer);
                self.writer.put_goaway(self.last_of_peer, ErrorCode::EnhanceYourCalm);
                Ok(())
            }
            Err(Excess::End(what)) => Err(ConnectionFault { name: what.name(), code: ErrorCode::EnhanceYourCalm }),
        }
    }

    /// The peer broke a rule of one stream: it is reset, and its exchange hears of it.
    pub(super) fn break_stream(
        &mut self,
        key: StreamKey,
        code: ErrorCode,
        rule: &'static str,
    ) -> Result<(), ConnectionFault> {
        let Some(stream) = self.store.get(key) else { return Ok(()) };
        let is_drained = stream.drains_until_ms.is_some();
        if stream.end.is_none() {
            stream.end(StreamEnd::Broken(rule));
            self.writer.put_reset(key.id, code);
        }
        if is_drained {
            self.forget(key, ClosedBy::Us);
        } else if self.role == Role::Server {
            self.abandon(key);
        }
        self.bound(Bounded::Fault)
    }

    /// A message ends by these trailers. Returns false where they are wrong, and the stream was reset.
    pub(super) fn end_by_trailers(
        &mut self,
        key: StreamKey,
        fields: &BlockFields,
        ends_stream: bool,
    ) -> Result<bool, ConnectionFault> {
        let Some(stream) = self.store.get(key) else { return Ok(false) };
        let mut lines = Vec::new();
        let is_whole = stream.length_left.is_none_or(|left| left == 0);
        if !ends_stream || !is_whole || fields.put_trailers(&mut lines).is_err() {
            return self.break_stream(key, ErrorCode::Protocol, "trailers").map(|()| false);
        }
        stream.trailers = lines;
        stream.incoming = Incoming::Ended;
        stream.wake_receiver();
        Ok(true)
    }

    /// A frame behind the end that the peer itself put to its stream.
    pub(super) fn refuse_closed(&mut self, id: u32) -> Result<(), ConnectionFault> {
        self.writer.put_reset(id, ErrorCode::StreamClosed);
        self.bound(Bounded::Fault)
    }

    /// Nobody reads a stream any more.
    pub(super) fn throw_away(&mut self, key: StreamKey) {
        let held = self.store.get(key).map_or(0, Stream::forget_body);
        if held > 0 {
            // Others may be waiting for what this one held.
            self.window.release(held);
            self.replenish();
        }
    }

    /// Nobody holds a stream any more.
    pub(super) fn let_go(&mut self, key: StreamKey) {
        self.held -= 1;
        self.heads_bytes -= self.store.get(key).map_or(0, |stream| std::mem::take(&mut stream.head_bytes));
    }

    /// Lets the peer send over the connection what it may.
    pub(super) fn replenish(&mut self) {
        let increment = self.window.replenish(self.bandwidth.window());
        self.writer.put_window_update(0, increment);
    }

    /// Nobody has a stream any more, and nothing of it is waited for.
    pub(super) fn forget(&mut self, key: StreamKey, by: ClosedBy) {
        self.throw_away(key);
        self.draining.retain(|one| *one != key);
        self.store.remove(key, by);
    }

    /// All of a stream has come but its end, which is waited for: from when the task that has the socket looks next.
    pub(super) fn drain(&mut self, key: StreamKey) {
        if self.draining.len() >= H2_STREAMS_MAX as usize
            && let Some(oldest) = self.draining.pop_front()
        {
            self.writer.put_reset(oldest.id, ErrorCode::NoError);
            self.forget(oldest, ClosedBy::Us);
        }
        if let Some(stream) = self.store.get(key) {
            stream.drains_until_ms = Some(u64::MAX);
        }
        self.draining.push_back(key);
    }

    /// So much of what a stream received was passed on.
    pub(super) fn pass_on(&mut self, key: StreamKey, bytes: usize) {
        self.window.release(bytes);
        let wanted = self.bandwidth.window();
        if let Some(stream) = self.store.get(key) {
            let increment = stream.window.release(bytes, wanted);
            if stream.incoming != Incoming::Ended && stream.end.is_none() {
                self.writer.put_window_update(key.id, increment);
            }
        }
        self.replenish();
    }

    /// Ends the connection: nothing more is read, and the peer is told why.
    pub(super) fn abort(&mut self, fault: ConnectionFault) {
        self.fault = Some(fault);
        self.standing = ConnectionStanding::Over;
        self.writer.put_goaway(self.last_of_peer, fault.code);
        self.end_streams();
    }

    /// The connection is gone.
    pub(super) fn end(&mut self) {
        self.standing = ConnectionStanding::Over;
        self.end_streams();
    }

    fn end_streams(&mut self) {
        self.accepted.clear();
        self.untold.drain(..).for_each(Waker::wake);
        self.store.iter().for_each(|stream| stream.end(StreamEnd::ConnectionOver));
    }

    /// Wakes all who wait to send: there is room for frames again, or a window was opened.
    pub(super) fn wake_senders(&mut self) {
        // Who waits for the window of its own stream is woken by that.
        self.store.iter().filter(|stream| stream.send_window > 0).for_each(Stream::wake_sender);
    }
    /// A stream ended before anybody took its request: it is forgotten.
    pub(super) fn abandon(&mut self, key: StreamKey) {
        let before = self.undecided.len();
        self.undecided.retain(|one| one.key != key);
        if self.undecided.len() < before {
            self.let_go(key);
            self.forget(key, ClosedBy::Peer);
        }
    }
}
