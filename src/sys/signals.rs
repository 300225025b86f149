//! Signals: held back while nobody is there to take them, and the one of a broken pipe.

use std::io;

use nix::sys::signal::{SigHandler, SigSet, Signal, signal};

/// Those that the program takes when it runs.
const TAKEN: [Signal; 5] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2];

/// Holds them back, in this thread and those that it starts.
///
/// # Errors
/// Those of the operating system.
pub fn hold() -> io::Result<()> {
    Ok(TAKEN.into_iter().collect::<SigSet>().thread_block()?)
}

/// Lets them through to this thread: those that were held come now.
///
/// # Errors
/// Those of the operating system.
pub fn let_through() -> io::Result<()> {
    Ok(TAKEN.into_iter().collect::<SigSet>().thread_unblock()?)
}

/// Says what becomes of this process where nobody reads any more what it writes: where `ends`, it ends without a word, as other
/// programs in a pipe do; else the write fails.
pub fn end_on_broken_pipe(ends: bool) {
    let action = if ends { SigHandler::SigDfl } else { SigHandler::SigIgn };
    // SAFETY: both actions are the operating system's own, so that no code of ours runs as a handler.
    #[expect(unsafe_code, reason = "nix has no safe call for it, for other actions may be handlers")]
    // It cannot fail for this signal.
    let _ = unsafe { signal(Signal::SIGPIPE, action) };
}
