//! The answer of a FastCGI server, read out of its records where they come in.

use std::io;
use std::task::{Context, Poll, ready};

use super::super::engine::{Receive, Transport};
use super::connection::ConnectionInlet;
use super::fault::StreamFault;
use crate::failure::Failure;
use crate::limits::STDERR_BYTES_MAX;
use crate::proto::gateway::records::{RecordDecoder, RecordFault};
use crate::upstream::evidence::{Delivery, Peek};

/// The receiving half of a connection to a FastCGI server. Records come in behind what is in the inbox and leave what they hold of the
/// answer in their place, as those of TLS do.
#[derive(Debug)]
pub(crate) struct RecordInlet<T: Transport> {
    connection: ConnectionInlet<T>,
    decoder: RecordDecoder,
    /// Where records begin in the inbox of the receive in flight.
    in_flight_from: Option<usize>,
    /// What the program said of itself in this answer, as far as it is kept.
    told: Vec<u8>,
    has_answer: bool,
    /// What the records have broken, told once what came before it is read.
    fault: Option<RecordFault>,
}

impl<T: Transport> RecordInlet<T> {
    /// Of a new connection.
    pub(crate) fn new(connection: ConnectionInlet<T>) -> Self {
        let (decoder, told) = (RecordDecoder::default(), Vec::new());
        Self { connection, decoder, in_flight_from: None, told, has_answer: false, fault: None }
    }

    /// What the program said of itself since this was asked last.
    pub(crate) fn take_told(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.told)
    }

    /// True where the end of the answer has come.
    pub(crate) fn is_over(&self) -> bool {
        self.decoder.is_over() && self.fault.is_none()
    }

    /// True where a byte has come since the last answer.
    pub(crate) const fn is_disturbed(&self) -> bool {
        !self.decoder.is_fresh()
    }

    /// The caller has all that it wants of the answer: true where that is over, so that another request can follow. What is behind the
    /// caller's part of it is thrown away.
    pub(crate) fn take_end(&mut self, inbox: &mut Vec<u8>) -> bool {
        if inbox.is_empty() && !self.decoder.is_over() {
            // The end most often comes with the last part, or right behind it.
            self.receive_at_once(inbox);
        }
        let is_over = inbox.is_empty() && self.is_over();
        inbox.clear();
        (self.decoder, self.has_answer) = (RecordDecoder::default(), false);
        is_over
    }

    /// Takes records out of the inbox.
    fn decode(&mut self, inbox: &mut Vec<u8>, from: usize) {
        let decoded = self.decoder.decode(inbox, from, &mut self.told);
        self.told.truncate(STDERR_BYTES_MAX);
        self.fault = decoded.err();
        self.has_answer |= inbox.len() > from;
    }

    fn failure(&self, fault: RecordFault) -> Failure {
        match fault {
            RecordFault::Refused(why) => Failure::FastCgiRefused(why),
            RecordFault::Broken(rule) if self.has_answer => Failure::UpstreamBadBody(rule),
            RecordFault::Broken(rule) => Failure::UpstreamBadHeader(rule),
        }
    }
}

impl<T: Transport> Receive for RecordInlet<T> {
    fn poll_receive(&mut self, inbox: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            if let Some(fault) = self.fault {
                return Poll::Ready(Err(io::Error::other(StreamFault(self.failure(fault)))));
            }
            if self.decoder.is_over() {
                return Poll::Ready(Ok(0));
            }
            let from = *self.in_flight_from.get_or_insert(inbox.len());
            let received = ready!(self.connection.poll_receive(inbox, cx));
            self.in_flight_from = None;
            match received? {
                // Between two requests it may end.
                0 if self.decoder.is_fresh() => return Poll::Ready(Ok(0)),
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                _ => self.decode(inbox, from),
            }
            if inbox.len() > from {
                return Poll::Ready(Ok(inbox.len() - from));
            }
        }
    }

    fn receive_at_once(&mut self, inbox: &mut Vec<u8>) -> usize {
        if self.in_flight_from.is_some() || self.decoder.is_over() || self.fault.is_some() {
            return 0;
        }
        let from = inbox.len();
        if self.connection.receive_at_once(inbox) > 0 {
            self.decode(inbox, from);
        }
        inbox.len() - from
    }

    fn is_seen(&self) -> bool {
        self.connection.is_seen()
    }

    fn peek(&self) -> Peek {
        self.connection.peek()
    }

    fn delivery(&self) -> Option<Delivery> {
        self.connection.delivery()
    }

    fn acknowledge(&self) {
        self.connection.acknowledge();
    }
}
