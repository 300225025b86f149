//! The streams of a connection that somebody holds or that still come to their end, and those that were closed of late.

use std::collections::VecDeque;

use super::stream::{Stream, StreamKey};
use crate::limits::H2_CLOSED_STREAMS_MAX;

/// Who closed a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClosedBy {
    /// We reset it: what was on its way is passed over (RFC 9113 §5.1).
    Us,
    /// The peer ended or reset it: nothing may follow.
    Peer,
}

/// The streams of one connection.
#[derive(Debug, Default)]
pub(super) struct StreamStore {
    /// Numbers of the streams by their places; 0 where a place is free. There are at most some hundred, which are looked through
    /// faster than any map is asked.
    ids: Vec<u32>,
    streams: Vec<Option<Box<Stream>>>,
    closed: VecDeque<(u32, ClosedBy)>,
}

impl StreamStore {
    /// Adds a stream.
    pub(super) fn insert(&mut self, stream: Stream) -> StreamKey {
        let id = stream.id;
        let place = self.ids.iter().position(|id| *id == 0).unwrap_or_else(|| {
            self.ids.push(0);
            self.streams.push(None);
            self.ids.len() - 1
        });
        self.ids[place] = id;
        self.streams[place] = Some(Box::new(stream));
        StreamKey { place, id }
    }

    /// The stream with this number.
    pub(super) fn find(&self, id: u32) -> Option<StreamKey> {
        let place = self.ids.iter().position(|known| *known == id)?;
        Some(StreamKey { place, id })
    }

    /// The stream of a key; `None` where it is gone.
    pub(super) fn get(&mut self, key: StreamKey) -> Option<&mut Stream> {
        self.streams.get_mut(key.place)?.as_deref_mut().filter(|stream| stream.id == key.id)
    }

    /// All streams.
    pub(super) fn iter(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.streams.iter_mut().flatten().map(|stream| &mut **stream)
    }

    /// Removes a stream, and remembers who closed it.
    pub(super) fn remove(&mut self, key: StreamKey, by: ClosedBy) -> Option<Box<Stream>> {
        let place = self.streams.get_mut(key.place)?;
        let stream = place.take_if(|stream| stream.id == key.id)?;
        self.ids[key.place] = 0;
        self.note_closed(key.id, by);
        while self.ids.last() == Some(&0) {
            self.ids.pop();
            self.streams.pop();
        }
        if self.ids.is_empty() {
            // An idle connection holds nothing.
            (self.ids, self.streams) = (Vec::new(), Vec::new());
        }
        Some(stream)
    }

    /// Remembers a stream that was closed.
    pub(super) fn note_closed(&mut self, id: u32, by: ClosedBy) {
        if self.closed.len() == H2_CLOSED_STREAMS_MAX {
            self.closed.pop_front();
        }
        self.closed.push_back((id, by));
    }

    /// Who closed a stream, where that was of late.
    pub(super) fn closed_by(&self, id: u32) -> Option<ClosedBy> {
        self.closed.iter().rev().find(|(known, _)| *known == id).map(|(_, by)| *by)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn a_key_is_good_for_its_stream_alone() {
        let mut store = StreamStore::default();
        let stream = |id| Stream::new(id, 0, &Rc::default(), 0);
        let first = store.insert(stream(1));
        let second = store.insert(stream(3));
        assert!(store.remove(first, ClosedBy::Peer).is_some() && store.get(first).is_none());
        let third = store.insert(stream(5));
        assert_eq!(third.place, first.place);
        assert!(store.get(first).is_none() && store.remove(first, ClosedBy::Us).is_none());
        assert_eq!((store.find(3), store.find(1), store.iter().count()), (Some(second), None, 2));
        assert_eq!((store.closed_by(1), store.closed_by(3)), (Some(ClosedBy::Peer), None));
    }

    #[test]
    fn only_the_latest_are_remembered() {
        let mut store = StreamStore::default();
        for id in 1..=u32::try_from(H2_CLOSED_STREAMS_MAX).unwrap() + 1 {
            store.note_closed(id, ClosedBy::Us);
        }
        assert_eq!((store.closed_by(1), store.closed_by(2)), (None, Some(ClosedBy::Us)));
    }
}
