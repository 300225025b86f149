//! The threads that write the access log and the process log, and the batches that others hand to them.
//!
//! A worker appends lines to a batch of its own and hands it over when it is full or a moment old. The channel
//! is bounded; where the disk is slow the batch is dropped and its lines are counted. No request waits.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::limits::{LOG_BATCH_BYTES, LOG_BATCHES_MAX};

/// How long the control plane waits for the thread.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the writing thread is told.
enum Message {
    /// Lines, and where the empty buffer goes back to.
    Lines(Vec<u8>, Sender<Vec<u8>>),
    /// Write to another file, or to the same anew.
    Open(PathBuf, oneshot::Sender<io::Result<()>>),
    /// Answer when all before it is written.
    Flush(oneshot::Sender<io::Result<()>>),
}

/// The control plane's end.
#[derive(Debug)]
pub struct LogWriter {
    messages: SyncSender<Message>,
    thread: JoinHandle<()>,
    lost: Arc<AtomicU64>,
}

impl LogWriter {
    /// Starts the thread of the access log. It writes nowhere until [`Self::open`].
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn start() -> io::Result<Self> {
        Self::to("access-log", OpenOptions::new().write(true).open("/dev/null")?.into(), LOG_BATCHES_MAX)
    }

    /// Starts a thread of this name that writes to an open file; so many batches or lines may wait for it.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn to(name: &str, out: OwnedFd, waiting_max: usize) -> io::Result<Self> {
        let (messages, inbox) = sync_channel(waiting_max);
        let sink = Sink { out: out.into(), is_torn: false, last: Ok(()), lost: 0 };
        let lost = Arc::<AtomicU64>::default();
        let count = Arc::clone(&lost);
        let thread = Builder::new().name(name.to_owned()).spawn(move || write_all(&inbox, sink, &count))?;
        Ok(Self { messages, thread, lost })
    }

    /// Lines that could not be written, counted as they are lost.
    #[must_use]
    pub fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    /// Writes to this file from now on: created if need be, appended to; `-` is standard output. Lines handed
    /// over before go to the old one: rotation loses none.
    ///
    /// # Errors
    /// Where the file cannot be opened; the old one stays.
    pub fn open(&self, path: &Path) -> impl Future<Output = io::Result<()>> + use<> {
        let (answer, answered) = oneshot::channel();
        self.ask(Message::Open(path.to_owned(), answer), answered)
    }

    /// Waits until everything handed over before is written.
    ///
    /// # Errors
    /// Where the last write failed.
    pub fn flush(&self) -> impl Future<Output = io::Result<()>> + use<> {
        let (answer, answered) = oneshot::channel();
        self.ask(Message::Flush(answer), answered)
    }

    /// The thread may hang on its disk or pipe; whoever asks does not hang with it.
    fn ask(
        &self,
        message: Message,
        answered: oneshot::Receiver<io::Result<()>>,
    ) -> impl Future<Output = io::Result<()>> + use<> {
        let behind = || io::Error::new(io::ErrorKind::TimedOut, "the log's thread waits for its disk or its reader");
        let is_sent = self.messages.try_send(message).is_ok();
        async move {
            if !is_sent {
                return Err(behind());
            }
            match tokio::time::timeout(PATIENCE, answered).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) | Err(_) => Err(behind()),
            }
        }
    }

    /// A worker's end.
    #[must_use]
    pub fn batch(&self) -> Batch {
        let (spare, spares) = channel();
        Batch { lines: Vec::new(), count: 0, messages: self.messages.clone(), spare, spares }
    }

    /// An end for whoever has a line now and then.
    #[must_use]
    pub fn lines(&self) -> Lines {
        // Nobody takes the empty buffers back.
        let (spare, _) = channel();
        Lines { messages: self.messages.clone(), lost: self.lost(), spare }
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

/// A line at a time: for the process log.
#[derive(Clone, Debug)]
pub struct Lines {
    messages: SyncSender<Message>,
    lost: Arc<AtomicU64>,
    spare: Sender<Vec<u8>>,
}

impl io::Write for Lines {
    /// Hands over what is one line or more. It is dropped and counted where the thread is behind; nobody waits.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.messages.try_send(Message::Lines(line.to_vec(), self.spare.clone())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where lines go.
struct Sink {
    out: File,
    /// What was written last is no whole line: a disk was full in the middle of it.
    is_torn: bool,
    /// How the last write ended.
    last: io::Result<()>,
    /// Lines that were lost since writing worked last.
    lost: u64,
}

impl Sink {
    /// Writes lines; how many were lost. That writing fails is told once, and once that it works again.
    fn put(&mut self, lines: &[u8]) -> u64 {
        let (written, result) = self.write(lines);
        let rest = lines.get(written..).unwrap_or_default();
        self.is_torn = match written.checked_sub(1).and_then(|at| lines.get(at)) {
            Some(byte) => *byte != b'\n',
            None => self.is_torn,
        };
        let lost = memchr::memchr_iter(b'\n', rest).count() as u64;
        self.lost += lost;
        match (&self.last, &result) {
            (Ok(()), Err(error)) => tracing::error!(%error, "log: lines are lost until writing works again"),
            (Err(_), Ok(())) => {
                tracing::info!(lost = self.lost, "log: writing works again");
                self.lost = 0;
            }
            _ => {}
        }
        self.last = result;
        lost
    }

    /// How many bytes of `lines` were written, and how it ended.
    fn write(&mut self, lines: &[u8]) -> (usize, io::Result<()>) {
        if self.is_torn {
            if let Err(error) = self.out.write_all(b"\n") {
                return (0, Err(error));
            }
            self.is_torn = false;
        }
        let mut written = 0;
        while written < lines.len() {
            match self.out.write(&lines[written..]) {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }
}

/// The thread. It is the only one that waits for a disk or a pipe.
fn write_all(inbox: &Receiver<Message>, mut sink: Sink, lost: &AtomicU64) {
    for message in inbox {
        match message {
            Message::Lines(mut lines, spare) => {
                lost.fetch_add(sink.put(&lines), Ordering::Relaxed);
                lines.clear();
                // The worker may be gone; then so is the buffer.
                let _ = spare.send(lines);
            }
            Message::Open(path, answer) => {
                let opened = open(&path).map(|file| {
                    // A torn line in another file joins nothing.
                    sink.is_torn = sink.is_torn && is_same(&sink.out, &file);
                    sink.out = file;
                });
                let _ = answer.send(opened);
            }
            Message::Flush(answer) => {
                let last = sink.last.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()));
                let _ = answer.send(last.copied());
            }
        }
    }
}

fn is_same(one: &File, other: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let inode = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
    inode(one) == inode(other)
}

/// A file, or standard output past the buffer that the library has for it: what is in a buffer when a disk is full comes later, in the
/// middle of something else.
fn open(path: &Path) -> io::Result<File> {
    if path == Path::new("-") {
        return Ok(io::stdout().as_fd().try_clone_to_owned()?.into());
    }
    OpenOptions::new().append(true).create(true).open(path)
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
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { writer.open(&path).await }).unwrap();
        let mut batch = writer.batch();
        let mut dropped = 0;
        for number in 0..1_000 {
            dropped += batch.push(|out| out.extend_from_slice(format!("{number}\n").as_bytes()));
            if number == 500 {
                dropped += batch.hand_over();
                std::fs::rename(&path, &rotated).unwrap();
                runtime.block_on(async { writer.open(&path).await }).unwrap();
            }
        }
        dropped += batch.hand_over();
        runtime.block_on(async { writer.flush().await }).unwrap();
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

    #[test]
    fn after_a_full_disk_no_line_is_joined_to_a_torn_one() {
        let path = std::env::temp_dir().join(format!("ringress-torn-{}", std::process::id()));
        let file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut sink = Sink { out: file, is_torn: false, last: Ok(()), lost: 0 };
        assert_eq!(sink.put(b"one\ntw"), 0);
        assert!(sink.is_torn, "as a disk leaves it that is full there");
        let file = std::mem::replace(&mut sink.out, full);
        assert_eq!(sink.put(b"lost\nlost too\n"), 2);
        assert!(sink.is_torn && sink.last.is_err());
        sink.out = file;
        assert_eq!(sink.put(b"three\n"), 0);
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntw\nthree\n");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn nobody_waits_for_a_pipe_that_is_not_read() {
        let (reader, writer) = io::pipe().unwrap();
        let log = LogWriter::to("process-log", writer.into(), LOG_BATCHES_MAX).unwrap();
        let mut lines = log.lines();
        let line = [b'x'; 4096];
        for _ in 0..LOG_BATCHES_MAX + 100 {
            lines.write_all(&line).unwrap();
        }
        assert!(log.lost().load(Ordering::Relaxed) > 0);
        drop(reader);
    }
}
