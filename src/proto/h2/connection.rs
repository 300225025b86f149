//! One connection of HTTP/2, on either side, without its socket: bytes that were received go in, frames that are to be sent
//! come out, and whoever has a stream reads and writes it by its key.
//!
//! A fault of a message or a stream stays with it: it is answered or reset, and the others go on (RFC 9113 §5.4.2, §8.1.1).
//! Only what makes the connection itself unreadable ends it.

use std::rc::Rc;
use std::task::{Context, Waker};

use super::core::{ConnectionStanding, Core, MEASURE, NewRequest};
use super::fields::FieldList;
use super::frame::{ErrorCode, put_settings};
use super::guard::Bounded;
use super::handle::Handle;
use super::hpack::decoder::Decoder;
use super::message::BlockFields;
use super::reader::{ConnectionFault, Frame, FrameReader};
use super::settings::{OURS_OF_CLIENT, OURS_OF_SERVER, Settings};
use super::store::ClosedBy;
use super::stream::{SentPart, StreamEnd, StreamKey};
use super::window::WindowBudget;
use super::writer::FrameWriter;
use super::{PREFACE, Role, client, data, server};
use crate::limits::{H2_STREAMS_MAX, H2_UNSENT_BYTES_MAX};
use crate::proto::stranger;

/// Payloads of our own PING.
const LEAVE: [u8; 8] = *b"leave\0\0\0";
const ALIVE: [u8; 8] = *b"alive\0\0\0";
/// The table of fields that we keep for a peer: the initial SETTINGS_HEADER_TABLE_SIZE.
const TABLE_BYTES: usize = 4096;
/// How long the end of a body is waited for that is here but for its end, in milliseconds.
const DRAIN_MS: u64 = 2_000;
/// How long a request without a usual body waits until it is known whether it has one, in milliseconds.
const UNDECIDED_MS: u64 = 500;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    core: Core,
    reader: FrameReader,
    preface_left: usize,
    decoder: Decoder,
    fields: BlockFields,
    unacknowledged_settings: u32,
    /// The window of the connection was opened since those who wait were woken.
    is_opened: bool,
}

impl Connection {
    /// A connection that begins. `window_max` is what the window of a stream is raised to at most, in bytes.
    #[must_use]
    pub fn new(role: Role, window_max: u32, budget: Rc<WindowBudget>) -> Self {
        let mut writer = FrameWriter::default();
        let ours: &[_] = match role {
            Role::Client => {
                writer.out().extend_from_slice(PREFACE);
                &OURS_OF_CLIENT
            }
            Role::Server => &OURS_OF_SERVER,
        };
        put_settings(writer.out(), ours);
        Self {
            core: Core::new(role, window_max, budget, writer),
            reader: FrameReader::default(),
            preface_left: if role == Role::Server { PREFACE.len() } else { 0 },
            decoder: Decoder::new(TABLE_BYTES),
            fields: BlockFields::default(),
            unacknowledged_settings: 1,
            is_opened: false,
        }
    }

    /// Where it stands.
    #[must_use]
    pub const fn standing(&self) -> ConnectionStanding {
        self.core.standing
    }

    /// True where nothing is left to be done but to send what waits and to part.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.core.is_over()
    }

    /// What the peer did that made us end it, or tell it to leave.
    #[must_use]
    pub const fn fault(&self) -> Option<ConnectionFault> {
        self.core.fault
    }

    /// Frames that wait to be sent.
    pub const fn writer(&mut self) -> &mut FrameWriter {
        &mut self.core.writer
    }

    /// Streams that somebody holds.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.core.held
    }

    /// True where a further stream to an upstream may begin.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.core.has_room()
    }

    /// True where the peer has said what it takes, or never will; else who asks is woken once it has.
    pub fn is_told(&mut self, cx: &Context<'_>) -> bool {
        let is_told = self.core.writer.is_told || self.core.standing == ConnectionStanding::Over;
        if !is_told {
            self.core.untold.push(cx.waker().clone());
        }
        is_told
    }

    /// The stream of this key.
    pub const fn stream(&mut self, key: StreamKey) -> Handle<'_> {
        Handle::new(&mut self.core, key)
    }

    /// Opens a stream to an upstream with this head; `is_last` where nothing follows it.
    ///
    /// # Errors
    /// [`client::NotOpened`]: nothing was sent.
    pub fn open(&mut self, head: &FieldList, is_last: bool) -> Result<StreamKey, client::NotOpened> {
        client::open(&mut self.core, head, is_last)
    }

    /// True where nothing shall be received: too much waits to be sent, or the connection is over.
    #[must_use]
    pub fn is_stuffed(&self) -> bool {
        self.core.standing == ConnectionStanding::Over || self.core.writer.waiting() >= H2_UNSENT_BYTES_MAX
    }

    /// True where something that has begun must come to its end soon: the preface, a frame other than one of a body, a block
    /// of fields.
    #[must_use]
    pub const fn is_unfinished(&self) -> bool {
        self.preface_left > 0 || self.reader.is_unfinished()
    }

    /// Ends the connection: nothing more is read, and the peer is told why.
    pub fn abort(&mut self, fault: ConnectionFault) {
        self.core.abort(fault);
    }

    /// The connection is gone.
    pub fn end(&mut self) {
        self.core.end();
    }

    /// Wakes all who wait to send: there is room for frames again.
    pub fn wake_senders(&mut self) {
        self.core.wake_senders();
    }

    /// The next request of a client.
    pub fn accept(&mut self) -> Option<NewRequest> {
        self.core.accepted.pop_front()
    }

    /// Takes bytes that were received.
    pub fn receive(&mut self, mut bytes: &[u8], now_ms: u64) {
        self.core.now_ms = now_ms;
        self.core.guard.turn(now_ms);
        let of_preface = self.preface_left.min(bytes.len());
        let (preface, rest) = bytes.split_at(of_preface);
        if !PREFACE[PREFACE.len() - self.preface_left..].starts_with(preface) {
            return self.core.abort(ConnectionFault::protocol("preface"));
        }
        self.preface_left -= of_preface;
        bytes = rest;
        if self.core.role == Role::Client && !self.core.writer.is_told {
            // No frame has come yet: a server begins with SETTINGS.
            let stranger =
                stranger::of_upstream(bytes).filter(|name| *name != "speaks_h2" && !self.reader.is_unfinished());
            if let Some(name) = stranger {
                self.core.store.iter().for_each(|stream| stream.end(StreamEnd::Broken(name)));
                return self.core.abort(ConnectionFault::protocol(name));
            }
        }
        let mut reader = std::mem::take(&mut self.reader);
        while self.core.standing != ConnectionStanding::Over {
            let taken = match reader.next(&mut bytes) {
                Ok(Some(frame)) => self.take(frame),
                Ok(None) => break,
                Err(fault) => Err(fault),
            };
            if let Err(fault) = taken {
                self.core.abort(fault);
            }
        }
        self.reader = reader;
        if std::mem::take(&mut self.is_opened) {
            self.core.wake_senders();
        }
        self.core.replenish();
    }

    fn take(&mut self, frame: Frame<'_>) -> Result<(), ConnectionFault> {
        if !self.core.writer.is_told && !matches!(frame, Frame::Settings(_)) {
            return Err(ConnectionFault::protocol("no_settings"));
        }
        match frame {
            Frame::Data { .. } => data::take_data(&mut self.core, frame),
            Frame::Block { stream, block, ends_stream, is_own_parent } => {
                let mut fields = std::mem::take(&mut self.fields);
                let decoded = self.decoder.decode(block, |name, value| fields.add(name, value));
                decoded.map_err(|_| ConnectionFault { name: "hpack", code: ErrorCode::Compression })?;
                let taken = match self.core.role {
                    Role::Server => {
                        server::take_block(&mut self.core, stream, &mut fields, (ends_stream, is_own_parent))
                    }
                    Role::Client => client::take_block(&mut self.core, stream, &fields, ends_stream),
                };
                fields.clear();
                self.fields = fields;
                taken
            }
            Frame::Malformed { stream, code } => match self.core.store.find(stream) {
                Some(key) => self.core.break_stream(key, code, "frame"),
                None if self.core.is_idle(stream) => Err(ConnectionFault { name: "frame", code }),
                None => self.core.bound(Bounded::Fault),
            },
            Frame::Priority => self.core.bound(Bounded::Priority),
            Frame::Reset { stream, code } => self.take_reset(stream, code),
            Frame::Settings(payload) => self.take_settings(payload),
            Frame::SettingsAck if self.unacknowledged_settings > 0 => {
                self.unacknowledged_settings -= 1;
                Ok(())
            }
            Frame::SettingsAck => self.core.bound(Bounded::Settings),
            Frame::Ping(said) => {
                self.core.bound(Bounded::Ping)?;
                self.core.writer.put_ping(said, true);
                Ok(())
            }
            Frame::Pong(said) => self.take_pong(said),
            Frame::GoAway { last, code } => self.take_goaway(last, code),
            Frame::WindowUpdate { stream, increment } => self.take_window_update(stream, increment),
            Frame::Unknown => self.core.bound(Bounded::Unknown),
        }
    }

    fn take_reset(&mut self, id: u32, code: ErrorCode) -> Result<(), ConnectionFault> {
        if self.core.is_idle(id) {
            return Err(ConnectionFault::protocol("idle_stream"));
        }
        self.core.bound(Bounded::Reset)?;
        let Some(key) = self.core.store.find(id) else { return Ok(()) };
        let Some(stream) = self.core.store.get(key) else { return Ok(()) };
        // What ends because we ended it is nobody's fault.
        let is_early = stream.outgoing == SentPart::Nothing && stream.end.is_none();
        let age_ms = self.core.now_ms.saturating_sub(stream.opened_ms);
        stream.end(StreamEnd::Reset(code));
        if stream.drains_until_ms.is_some() {
            self.core.forget(key, ClosedBy::Peer);
        } else if is_early && self.core.role == Role::Server {
            self.core.abandon(key);
            let excess = self.core.guard.take_early_reset(age_ms);
            return self.core.act(excess);
        }
        Ok(())
    }

    fn take_settings(&mut self, payload: &[u8]) -> Result<(), ConnectionFault> {
        self.core.bound(Bounded::Settings)?;
        let settings = Settings::read(payload, self.core.role)?;
        self.core.writer.is_told = true;
        self.core.untold.drain(..).for_each(Waker::wake);
        if let Some(window) = settings.initial_window {
            let streams = self.core.store.iter();
            self.core.writer.change_initial_window(window, streams).map_err(|_| ConnectionFault::WINDOW)?;
        }
        if let Some(size) = settings.table_bytes {
            self.core.writer.resize_table(size);
        }
        if let Some(streams_max) = settings.streams_max {
            // More than some hundred are better off on another connection, and are not looked through here.
            self.core.writer.put_streams_max(streams_max.min(H2_STREAMS_MAX as usize));
        }
        if let Some(bytes) = settings.list_bytes_max {
            self.core.writer.put_list_bytes_max(bytes);
        }
        self.core.writer.put_settings_ack();
        Ok(())
    }

    fn take_pong(&mut self, said: [u8; 8]) -> Result<(), ConnectionFault> {
        match said {
            MEASURE if self.core.bandwidth.is_measuring() => _ = self.core.bandwidth.note_pong(self.core.now_ms),
            // The client has seen that it shall leave: what it has sent since then it would not have begun.
            LEAVE if self.core.last_told == Some(u32::MAX >> 1) => {
                self.core.last_told = Some(self.core.last_of_peer);
                self.core.writer.put_goaway(self.core.last_of_peer, ErrorCode::NoError);
            }
            _ => return self.core.bound(Bounded::Ping),
        }
        Ok(())
    }

    fn take_goaway(&mut self, last: u32, code: ErrorCode) -> Result<(), ConnectionFault> {
        self.core.bound(Bounded::Unknown)?;
        if self.core.role == Role::Client {
            self.core.standing = ConnectionStanding::Leaving;
            let is_graceful = code == ErrorCode::NoError;
            for stream in self.core.store.iter().filter(|stream| stream.id > last) {
                stream.end(StreamEnd::Unprocessed { is_graceful });
            }
        }
        Ok(())
    }

    fn take_window_update(&mut self, id: u32, increment: u32) -> Result<(), ConnectionFault> {
        self.core.bound(Bounded::WindowUpdate)?;
        if id == 0 {
            if increment == 0 {
                return Err(ConnectionFault::protocol("window_update_of_0"));
            }
            self.core.writer.open_window(increment).map_err(|_| ConnectionFault::WINDOW)?;
            self.is_opened = true;
            return Ok(());
        }
        if self.core.is_idle(id) {
            return Err(ConnectionFault::protocol("idle_stream"));
        }
        let Some(key) = self.core.store.find(id) else { return Ok(()) };
        if increment == 0 {
            return self.core.break_stream(key, ErrorCode::Protocol, "window_update_of_0");
        }
        let opened = self.core.store.get(key).map(|stream| FrameWriter::open_stream(stream, increment));
        if opened.is_some_and(|opened| opened.is_err()) {
            return self.core.break_stream(key, ErrorCode::FlowControl, "window");
        }
        Ok(())
    }

    /// When [`Self::expire`] has something to do, in milliseconds of the clock that [`Self::receive`] is told.
    #[must_use]
    pub fn expires_ms(&mut self, now_ms: u64) -> Option<u64> {
        let Core { store, draining, undecided, .. } = &mut self.core;
        // The clock runs from now for those that were just begun to be waited for.
        for key in draining.iter().rev() {
            match store.get(*key) {
                Some(stream) if stream.drains_until_ms == Some(u64::MAX) => {
                    stream.drains_until_ms = Some(now_ms + DRAIN_MS);
                }
                Some(_) | None => break,
            }
        }
        let drains = draining.front().and_then(|key| store.get(*key)?.drains_until_ms);
        let decides = undecided.first().and_then(|one| Some(store.get(one.key)?.opened_ms + UNDECIDED_MS));
        drains.into_iter().chain(decides).min()
    }

    /// Ends what has been waited for long enough: the end of a body whose bytes are all here, and the first byte of one that
    /// may come to nothing.
    pub fn expire(&mut self, now_ms: u64) {
        self.core.now_ms = now_ms;
        let is_due = |until: Option<u64>| until.is_none_or(|until| until <= now_ms);
        while let Some(key) = self.core.draining.front().copied() {
            if !is_due(self.core.store.get(key).and_then(|stream| stream.drains_until_ms)) {
                break;
            }
            self.core.writer.put_reset(key.id, ErrorCode::NoError);
            self.core.forget(key, ClosedBy::Us);
        }
        while let Some(key) = self.core.undecided.first().map(|one| one.key) {
            if !is_due(self.core.store.get(key).map(|stream| stream.opened_ms + UNDECIDED_MS)) {
                break;
            }
            // A fault is counted, and has nobody else's frame to end.
            let _ = server::decide(&mut self.core, key, true);
        }
    }

    /// Asks a client to leave: in two steps, so that no request is lost that was on its way (RFC 9113 §6.8).
    pub fn leave(&mut self) {
        if self.core.standing == ConnectionStanding::Open && self.core.role == Role::Server {
            self.core.standing = ConnectionStanding::Leaving;
            self.core.last_told = Some(u32::MAX >> 1);
            self.core.writer.put_goaway(u32::MAX >> 1, ErrorCode::NoError);
            self.core.writer.put_ping(LEAVE, false);
        }
    }

    /// Asks whether the peer is there, which anything that comes then shows.
    pub fn ask_alive(&mut self) {
        self.core.writer.put_ping(ALIVE, false);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::super::frame::{
        FrameHeader, HEADER_BYTES, flag, kind, put_block, put_frame, put_reset, put_settings, put_window_update,
    };
    use super::super::hpack::encoder::Encoder;
    use super::super::stream::StreamKey;
    use super::*;
    use crate::proto::h1::fault::{RequestFault, ResponseFault};

    /// A peer that writes frames by hand.
    struct Peer {
        connection: Connection,
        encoder: Encoder,
    }

    impl Peer {
        fn new(role: Role) -> Self {
            let mut connection = Connection::new(role, 1 << 20, Rc::default());
            let mut first = if role == Role::Server { PREFACE.to_vec() } else { Vec::new() };
            put_settings(&mut first, &[]);
            connection.receive(&first, 0);
            connection.writer().out().clear();
            Self { connection, encoder: Encoder::default() }
        }

        fn block(&mut self, stream: u32, fields: &[(&str, &str)], is_last: bool) {
            let (mut block, mut out) = (Vec::new(), Vec::new());
            self.encoder.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())), &mut block);
            put_block(&mut out, stream, &block, is_last);
            self.connection.receive(&out, 0);
        }

        fn request(&mut self, stream: u32, more: &[(&str, &str)], is_last: bool) {
            let usual = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
            self.block(stream, &[&usual, more].concat(), is_last);
        }

        fn send(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
            let mut out = Vec::new();
            put(&mut out);
            self.connection.receive(&out, 0);
        }

        fn data(&mut self, stream: u32, data: &[u8]) {
            for part in data.chunks(16_384) {
                self.send(|out| put_frame(out, kind::DATA, 0, stream, part));
            }
        }

        fn answer(&mut self, key: StreamKey) {
            let mut fields = FieldList::default();
            fields.push(b":status", b"200");
            self.connection.stream(key).put_head(&fields, false, true).unwrap();
            self.connection.stream(key).release();
        }

        /// Frames that were put since, by kind and stream.
        fn sent(&mut self) -> Vec<(u8, u32)> {
            let out = std::mem::take(self.connection.writer().out());
            let (mut rest, mut found) = (&out[..], Vec::new());
            while let Some((header, behind)) = rest.split_first_chunk::<HEADER_BYTES>() {
                let header = FrameHeader::read(*header);
                found.push((header.kind, header.stream));
                rest = &behind[header.length..];
            }
            found
        }
    }

    #[test]
    fn what_comes_behind_a_request_that_nobody_looks_at_ends_nothing() {
        let mut peer = Peer::new(Role::Server);
        peer.request(1, &[], true);
        peer.connection.leave();
        peer.send(|out| put_frame(out, kind::PING, flag::ACK, 0, &LEAVE));
        peer.request(3, &[], false);
        peer.data(3, b"body");
        peer.send(|out| put_window_update(out, 3, 5));
        peer.send(|out| put_reset(out, 3, ErrorCode::Cancel));
        assert_eq!((peer.connection.fault(), peer.connection.standing()), (None, ConnectionStanding::Leaving));
        let key = peer.connection.accept().unwrap().key;
        assert!(peer.connection.accept().is_none());
        peer.answer(key);
        assert!(peer.connection.is_over());
    }

    #[test]
    fn streams_whose_end_is_waited_for_are_few_and_end_in_time() {
        let mut peer = Peer::new(Role::Server);
        for at in 0..1_000 {
            peer.request(2 * at + 1, &[("content-length", "0")], false);
            let key = peer.connection.accept().unwrap().key;
            peer.answer(key);
        }
        assert_eq!((peer.connection.held(), peer.connection.core.store.iter().count()), (0, H2_STREAMS_MAX as usize));
        assert_eq!(
            peer.connection.expires_ms(5_000),
            Some(5_000 + DRAIN_MS),
            "the clock runs from when somebody looks"
        );
        // The end of one comes; the others are let go.
        peer.send(|out| put_frame(out, kind::DATA, flag::END_STREAM, 1_999, b""));
        peer.sent();
        peer.connection.expire(5_000 + DRAIN_MS);
        assert_eq!(peer.sent().iter().filter(|(of, _)| *of == kind::RST_STREAM).count(), H2_STREAMS_MAX as usize - 1);
        assert_eq!((peer.connection.expires_ms(9_000), peer.connection.fault()), (None, None));
    }

    #[test]
    fn what_an_ended_stream_held_is_given_to_the_others() {
        let mut peer = Peer::new(Role::Server);
        let mut keys = Vec::new();
        // The windows of so many streams are more than that of the connection.
        for at in 0..100 {
            peer.request(2 * at + 1, &[], false);
            keys.push(peer.connection.accept().unwrap().key);
            peer.data(2 * at + 1, &vec![b'x'; 65_536]);
        }
        assert_eq!(peer.connection.fault(), None);
        peer.sent();
        for key in keys {
            peer.connection.stream(key).release();
        }
        peer.request(201, &[], false);
        peer.data(201, &vec![b'x'; 65_536]);
        assert_eq!(peer.connection.fault(), None, "its window is open again");
    }

    #[test]
    fn a_body_that_cannot_be_as_long_as_its_head_says_is_refused() {
        for more in [("content-type", "application/grpc"), ("trailer", "x"), ("accept", "*/*")] {
            let mut peer = Peer::new(Role::Server);
            peer.request(1, &[("content-length", "10"), more], true);
            assert_eq!(peer.connection.accept().unwrap().carried, Err(RequestFault::BodyLength));
            // No field makes a length mean nothing (RFC 9113 §8.1.1).
            peer.request(3, &[(":method", "POST"), ("content-length", "10"), more][1..], false);
            let key = peer.connection.accept().unwrap().key;
            peer.send(|out| put_frame(out, kind::DATA, flag::END_STREAM, 3, b"123"));
            let cx = Context::from_waker(Waker::noop());
            assert!(matches!(peer.connection.stream(key).poll_end(&cx), Poll::Ready(StreamEnd::Broken(_))));
        }
        for length in ["+4", "banana", "", "4, 4"] {
            let mut peer = Peer::new(Role::Server);
            peer.request(1, &[("content-length", length), ("trailer", "x")], false);
            assert_eq!(peer.connection.accept().unwrap().carried, Err(RequestFault::BodyLength), "{length}");
        }
        let mut peer = Peer::new(Role::Server);
        peer.request(1, &[("content-length", "4"), ("content-length", "4")], false);
        assert_eq!(peer.connection.accept().unwrap().carried, Err(RequestFault::BodyLength));
    }

    #[test]
    fn an_answer_without_a_status_ends_its_stream_at_once() {
        for fields in [&[("x", "y")][..], &[("x", "y"), (":status", "200")], &[(":method", "GET"), (":status", "200")]]
        {
            let mut peer = Peer::new(Role::Client);
            let mut head = FieldList::default();
            head.push(b":method", b"GET");
            let key = peer.connection.open(&head, true).unwrap();
            peer.block(1, fields, true);
            let end = peer.connection.stream(key).poll_end(&Context::from_waker(Waker::noop()));
            assert_eq!(end, Poll::Ready(StreamEnd::BadHead(ResponseFault::PseudoField)));
        }
    }

    #[test]
    fn an_authority_may_say_the_port_that_goes_without_saying() {
        for (authority, host, is_taken) in
            [("a.test:80", "a.test", true), ("a.test", "A.TEST", true), ("a", "b", false)]
        {
            let mut peer = Peer::new(Role::Server);
            let get =
                [(":method", "GET"), (":scheme", "http"), (":authority", authority), (":path", "/"), ("host", host)];
            peer.block(1, &get, true);
            assert_eq!(peer.connection.accept().unwrap().carried.is_ok(), is_taken, "{authority} {host}");
        }
    }

    #[test]
    fn a_tunnel_of_a_protocol_that_is_not_known_is_refused() {
        let mut peer = Peer::new(Role::Server);
        for (stream, protocol) in [(1, "h2c"), (3, "connect-udp"), (5, "foo")] {
            let connect = [
                (":method", "CONNECT"),
                (":protocol", protocol),
                (":scheme", "http"),
                (":authority", "a"),
                (":path", "/"),
            ];
            peer.block(stream, &connect, false);
            assert_eq!(peer.connection.accept().unwrap().carried, Err(RequestFault::Protocol));
        }
    }

    #[test]
    fn interim_heads_without_end_end_their_stream() {
        let mut peer = Peer::new(Role::Client);
        let mut head = FieldList::default();
        head.push(b":method", b"GET");
        let key = peer.connection.open(&head, true).unwrap();
        let value = "v".repeat(400);
        let fields: Vec<_> =
            std::iter::once((":status", "103")).chain((0..100).map(|_| ("link", &value[..]))).collect();
        for _ in 0..1_000 {
            peer.block(1, &fields, false);
        }
        let cx = Context::from_waker(Waker::noop());
        let (mut inbox, mut read) = (Vec::with_capacity(1 << 20), 0);
        while let Poll::Ready(Ok(bytes)) = peer.connection.stream(key).poll_read(&mut inbox, &cx) {
            read += bytes;
        }
        let end = peer.connection.stream(key).poll_end(&cx);
        assert_eq!(end, Poll::Ready(StreamEnd::BadHead(ResponseFault::TooManyInterim)));
        assert!(read < 200_000, "{read}");
    }

    #[test]
    fn heads_in_flight_are_bounded_by_their_bytes_and_room_comes_back() {
        let mut peer = Peer::new(Role::Server);
        let value = "v".repeat(4_000);
        let fields = [("a", &value[..]); 15];
        let mut keys = Vec::new();
        for at in 0..99 {
            peer.request(2 * at + 1, &fields, true);
            keys.extend(peer.connection.accept().map(|request| request.key));
        }
        assert!((10..20).contains(&keys.len()), "{} of 60 KB each", keys.len());
        let refused = peer.sent().iter().filter(|(of, _)| *of == kind::RST_STREAM).count();
        assert_eq!((refused, peer.connection.fault()), (99 - keys.len(), None));
        for key in keys {
            peer.connection.stream(key).release();
        }
        peer.request(201, &fields, true);
        assert!(peer.connection.accept().is_some());
        // Trailers are held as heads are.
        let mut refused = 0;
        peer.sent();
        for stream in (203..263).step_by(2) {
            peer.request(stream, &[], false);
            assert!(peer.connection.accept().is_some());
            peer.block(stream, &fields, true);
            refused += peer.sent().iter().filter(|(of, _)| *of == kind::RST_STREAM).count();
        }
        assert!((10..20).contains(&refused), "{refused} of 30 with 60 KB each");
    }

    #[test]
    fn a_flood_of_blocks_that_begin_nothing_is_stopped() {
        let mut peer = Peer::new(Role::Server);
        for at in 0..100 {
            peer.request(2 * at + 1, &[], false);
        }
        let mut stream = 201;
        while peer.connection.standing() != ConnectionStanding::Over {
            peer.request(stream, &[], true);
            stream += 2;
            assert!(stream < 10_000);
        }
        assert_eq!(peer.connection.fault().unwrap().name, "dropped_stream");
    }
}
