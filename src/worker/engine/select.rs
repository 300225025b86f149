//! Which engine runs, and why: io_uring with the best flags that this kernel and its rules allow, else epoll.

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;

use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, Runtime, RuntimeBuilder};

use super::ring::Ring;
use crate::config::EngineChoice;
use crate::limits::{COMPLETIONS_PER_ENTRY, RING_ENTRIES, RING_ENTRIES_MIN};

/// The flags of a ring, the cheapest first. With the default flags monoio 0.2.4 costs 23 % more CPU for a
/// request than epoll, with `DEFER_TASKRUN` less (measured on Linux 6.18, 64 connections).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flags {
    /// `SINGLE_ISSUER | DEFER_TASKRUN` (Linux 6.1).
    Defer,
    /// `COOP_TASKRUN` (Linux 5.19).
    Coop,
    /// None.
    Plain,
}

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// io_uring with these flags and this many entries.
    IoUring(Flags, u32),
    /// epoll.
    Epoll,
}

impl Engine {
    /// The name in metrics and `--version`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoUring(..) => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IoUring(flags, entries) => {
                let flags = match flags {
                    Flags::Defer => "SINGLE_ISSUER | DEFER_TASKRUN",
                    Flags::Coop => "COOP_TASKRUN",
                    Flags::Plain => "no flags",
                };
                write!(f, "io_uring ({flags}, {entries} entries)")
            }
            Self::Epoll => f.write_str("epoll"),
        }
    }
}

/// The engine and the reason why it is not a better one; the reason is empty for the best.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// What runs.
    pub engine: Engine,
    /// What failed before.
    pub reason: String,
}

enum AnyRuntime {
    Ring(Runtime<TimeDriver<IoUringDriver>>),
    Epoll(Runtime<TimeDriver<LegacyDriver>>),
}

/// Runs `main` on an engine of the calling thread until it ends.
///
/// The runtime is never dropped: the kernel may still write into buffers of operations in flight. It is meant
/// for a thread that lives as long as the process.
///
/// # Errors
/// Where the engine that was asked for cannot be had.
pub fn run<R>(choice: EngineChoice, main: impl AsyncFnOnce(Ring, Selection) -> R) -> io::Result<R> {
    let (runtime, selection) = build(choice)?;
    let ring = Ring::new(selection.engine == Engine::Epoll);
    let root = ring.root(main(ring.clone(), selection));
    Ok(match runtime {
        AnyRuntime::Ring(runtime) => ManuallyDrop::new(runtime).block_on(root),
        AnyRuntime::Epoll(runtime) => ManuallyDrop::new(runtime).block_on(root),
    })
}

/// What [`run`] would take now, on this thread.
///
/// # Errors
/// As [`run`].
pub fn probe(choice: EngineChoice) -> io::Result<Selection> {
    build(choice).map(|(_, selection)| selection)
}

fn build(choice: EngineChoice) -> io::Result<(AnyRuntime, Selection)> {
    let mut reason = String::new();
    if choice != EngineChoice::Epoll {
        match build_ring() {
            Ok((runtime, engine, reason)) => return Ok((AnyRuntime::Ring(runtime), Selection { engine, reason })),
            Err(error) if choice == EngineChoice::IoUring => {
                return Err(io::Error::new(error.kind(), format!("io_uring: {}", explain(&error))));
            }
            Err(error) => reason = format!("io_uring: {}", explain(&error)),
        }
    }
    let runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?;
    Ok((AnyRuntime::Epoll(runtime), Selection { engine: Engine::Epoll, reason }))
}

fn build_ring() -> io::Result<(Runtime<TimeDriver<IoUringDriver>>, Engine, String)> {
    let mut reason = String::new();
    let mut entries = RING_ENTRIES;
    loop {
        let mut last = io::Error::from(io::ErrorKind::Unsupported);
        for flags in [Flags::Defer, Flags::Coop, Flags::Plain] {
            match build_with(flags, entries) {
                Ok(runtime) => return Ok((runtime, Engine::IoUring(flags, entries), reason)),
                Err(error) => {
                    reason = explain(&error);
                    last = error;
                }
            }
            // EINVAL is an unknown flag, so others may do. After any other error they would fail alike.
            if last.raw_os_error() != Some(libc::EINVAL) {
                break;
            }
        }
        // ENOMEM: the ring does not fit into RLIMIT_MEMLOCK, a smaller one may.
        entries /= 2;
        if last.raw_os_error() != Some(libc::ENOMEM) || entries < RING_ENTRIES_MIN {
            return Err(last);
        }
    }
}

fn build_with(flags: Flags, entries: u32) -> io::Result<Runtime<TimeDriver<IoUringDriver>>> {
    let mut ring = io_uring::IoUring::builder();
    ring.setup_cqsize(entries * COMPLETIONS_PER_ENTRY);
    match flags {
        Flags::Defer => _ = ring.setup_single_issuer().setup_defer_taskrun(),
        Flags::Coop => _ = ring.setup_coop_taskrun(),
        Flags::Plain => {}
    }
    RuntimeBuilder::<IoUringDriver>::new().with_entries(entries).uring_builder(ring).enable_timer().build()
}

fn explain(error: &io::Error) -> String {
    let remedy = match error.raw_os_error() {
        Some(libc::EPERM) => " (a seccomp profile or kernel.io_uring_disabled forbids it)",
        Some(libc::ENOSYS) => " (the kernel has no io_uring)",
        Some(libc::ENOMEM) => " (raise RLIMIT_MEMLOCK to 16 MiB per worker)",
        Some(libc::EINVAL) => " (the kernel is older than the flags)",
        _ => "",
    };
    format!("{error}{remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoll_can_always_be_had_and_says_its_name() {
        let ran = run(EngineChoice::Epoll, async |_, selection: Selection| selection.engine);
        assert_eq!(ran.unwrap().name(), "epoll");
    }

    #[test]
    fn the_remedy_for_a_refusal_is_named() {
        assert!(explain(&io::Error::from_raw_os_error(libc::EPERM)).contains("seccomp"));
        assert!(explain(&io::Error::from_raw_os_error(libc::ENOMEM)).contains("RLIMIT_MEMLOCK"));
    }
}
