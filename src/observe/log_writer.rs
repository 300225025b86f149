//! The thread that writes the access log, and the batches that workers hand to it.
//!
//! A worker appends lines to a batch of its own and hands it over when it is full or a moment old. The channel
//! is bounded; where the disk is slow the batch is dropped and its lines are counted. No request waits.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::limits::{LOG_BATCH_BYTES, LOG_BATCHES_MAX};

/// How long the control plane waits for the thread.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the writing thread is told.
enum Message {
    /// Lines, and where the empty buffer goes back to.
    Lines(Vec<u8>, Sender<Vec<u8>>),
    /// Write to another file, or to the same anew.
    Open(PathBuf, SyncSender<io::Result<()>>),
    /// Answer when all before it is written.
    Flush(SyncSender<io::Result<()>>),
}

/// The control plane's end.
#[derive(Debug)]
pub struct LogWriter {
    messages: SyncSender<Message>,
    thread: JoinHandle<()>,
}

impl LogWriter {
    /// Starts the thread. It writes nowhere until [`Self::open`].
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn start() -> io::Result<Self> {
        let (messages, inbox) = sync_channel(LOG_BATCHES_MAX);
        let thread = Builder::new().name("access-log".to_owned()).spawn(move || write_all(&inbox))?;
        Ok(Self { messages, thread })
    }

    /// Writes to this file from now on: created if need be, appended to; `-` is standard output. Lines handed
    /// over before go to the old one: rotation loses none.
    ///
    /// # Errors
    /// Where the file cannot be opened; the old one stays.
    pub fn open(&self, path: &Path) -> io::Result<()> {
        let (answer, answered) = sync_channel(1);
        self.ask(Message::Open(path.to_owned(), answer), &answered)
    }

    /// Waits until everything handed over before is written.
    ///
    /// # Errors
    /// Where the last write failed.
    pub fn flush(&self) -> io::Result<()> {
        let (answer, answered) = sync_channel(1);
        self.ask(Message::Flush(answer), &answered)
    }

    /// The thread may hang on its disk or pipe; whoever asks does not hang with it.
    fn ask(&self, message: Message, answered: &Receiver<io::Result<()>>) -> io::Result<()> {
        let behind = || io::Error::new(io::ErrorKind::TimedOut, "the access log's thread is behind");
        self.messages.try_send(message).map_err(|_| behind())?;
        answered.recv_timeout(PATIENCE).unwrap_or_else(|_| Err(behind()))
    }

    /// A worker's end.
    #[must_use]
    pub fn batch(&self) -> Batch {
        let (spare, spares) = channel();
        Batch { lines: Vec::new(), count: 0, messages: self.messages.clone(), spare, spares }
    }

    /// True while the thread runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.thread.is_finished()
    }
}

/// Lines of one worker on their way to the thread.
#[derive(Debug)]
pub struct Batch {
    lines: Vec<u8>,
    count: u64,
    messages: SyncSender<Message>,
    spare: Sender<Vec<u8>>,
    spares: Receiver<Vec<u8>>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

impl Batch {
    /// An empty batch on its way to the same thread.
    #[must_use]
    pub fn another(&self) -> Self {
        let (spare, spares) = channel();
        Self { lines: Vec::new(), count: 0, messages: self.messages.clone(), spare, spares }
    }

    /// Appends one line by `put`; returns how many lines were dropped.
    pub fn push(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> u64 {
        put(&mut self.lines);
        self.count += 1;
        if self.lines.len() >= LOG_BATCH_BYTES { self.hand_over() } else { 0 }
    }

    /// Hands over what there is; returns how many lines were dropped for the thread being behind.
    pub fn hand_over(&mut self) -> u64 {
        if self.lines.is_empty() {
            return 0;
        }
        let empty = self.spares.try_recv().unwrap_or_else(|_| Vec::with_capacity(LOG_BATCH_BYTES + 4096));
        let lines = std::mem::replace(&mut self.lines, empty);
        let count = std::mem::take(&mut self.count);
        match self.messages.try_send(Message::Lines(lines, self.spare.clone())) {
            Ok(()) => 0,
            Err(_) => count,
        }
    }
}

/// The thread. A failed write loses its batch and is told once until one succeeds again.
fn write_all(inbox: &Receiver<Message>) {
    let mut out: Box<dyn Write> = Box::new(io::sink());
    let mut last = Ok(());
    for message in inbox {
        match message {
            Message::Lines(mut lines, spare) => {
                let result = out.write_all(&lines).and_then(|()| out.flush());
                if let (Ok(()), Err(error)) = (&last, &result) {
                    tracing::error!(%error, "access log: lines are lost until writing works again");
                }
                last = result;
                lines.clear();
                // The worker may be gone; then so is the buffer.
                let _ = spare.send(lines);
            }
            Message::Open(path, answer) => {
                let opened = open(&path).map(|file| out = file);
                let _ = answer.send(opened);
            }
            Message::Flush(answer) => {
                let _ = answer.send(std::mem::replace(&mut last, Ok(())));
            }
        }
    }
}

fn open(path: &Path) -> io::Result<Box<dyn Write>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    let file: File = OpenOptions::new().append(true).create(true).open(path)?;
    Ok(Box::new(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_log_loses_no_line() {
        let folder = std::env::temp_dir().join(format!("ringress-log-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (path, rotated) = (folder.join("a.log"), folder.join("a.log.1"));
        let writer = LogWriter::start().unwrap();
        writer.open(&path).unwrap();
        let mut batch = writer.batch();
        let mut dropped = 0;
        for number in 0..1_000 {
            dropped += batch.push(|out| out.extend_from_slice(format!("{number}\n").as_bytes()));
            if number == 500 {
                dropped += batch.hand_over();
                std::fs::rename(&path, &rotated).unwrap();
                writer.open(&path).unwrap();
            }
        }
        dropped += batch.hand_over();
        writer.flush().unwrap();
        let lines = |path: &Path| std::fs::read_to_string(path).unwrap().lines().count();
        assert_eq!((lines(&rotated), lines(&path), dropped), (501, 499, 0));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_full_channel_drops_and_counts() {
        let (messages, inbox) = sync_channel(1);
        let (spare, spares) = channel();
        let mut batch = Batch { lines: Vec::new(), count: 0, messages, spare, spares };
        batch.push(|out| out.push(b'a'));
        assert_eq!(batch.hand_over(), 0);
        batch.push(|out| out.push(b'b'));
        batch.push(|out| out.push(b'c'));
        assert_eq!(batch.hand_over(), 2);
        drop(inbox);
        batch.push(|out| out.push(b'd'));
        assert_eq!(batch.hand_over(), 1);
    }
}
