//! Failures by the rules of TLS or HTTP/2, carried in an `io::Error` where the operating system has none to report.

use std::io;

use crate::failure::Failure;

/// A failure that came as an error of I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamFault(pub Failure);

impl std::fmt::Display for StreamFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for StreamFault {}

/// The failure that an error stands for, where it is no error of the operating system.
pub(crate) fn fault_of(error: &io::Error) -> Option<Failure> {
    error.get_ref()?.downcast_ref::<StreamFault>().map(|fault| fault.0)
}

/// The peer has given the stream up in good order: it wants no more, and says no more.
pub(crate) fn left() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

/// True for what [`left`] makes.
pub(crate) fn has_left(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionAborted
}

/// The connection, or the stream, is over.
pub(crate) fn gone() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}
