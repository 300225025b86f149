//! `ringress run`: starts workers, control plane and admin listener, and ends with them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use anyhow::Context as _;

use super::arguments::{Arguments, FAILED};
use super::check::tell;
use crate::admin::{Admin, AdminSocket};
use crate::clients::ClientConnections;
use crate::config::schema::{Config, Threads};
use crate::config::source::Source;
use crate::control::listeners::once_free;
use crate::control::plane::Plane;
use crate::control::signals::Signals;
use crate::desk::Desk;
use crate::limits::{CONNECTIONS_WANTED, RESERVED_DESCRIPTORS};
use crate::mailbox::{self, Bells, Mailbox};
use crate::observe::log_writer::LogWriter;
use crate::observe::process_log;
use crate::observe::prometheus::LostLines;
use crate::sys;
use crate::worker::WorkerSettings;
use crate::worker::thread::{ThreadSettings, start};

/// Runs until a signal ends it; the exit code.
pub(super) fn run(arguments: &Arguments, path: Option<&Path>, source: Source) -> anyhow::Result<i32> {
    sys::signals::end_on_broken_pipe(false);
    let log = process_log::start(arguments.log_format, &arguments.log_level).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(serve(path, source, log.lost())).unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        FAILED
    });
    // Where standard error cannot be written the last lines are lost; the end is not held up for them.
    let _ = runtime.block_on(async { log.flush().await });
    // Not dropped: the kernel may still write into buffers of a worker that did not drain in time.
    std::process::exit(code);
}

/// Starts everything and serves; `process_lost` counts the lines of the process log that were lost.
async fn serve(path: Option<&Path>, source: Source, process_lost: Arc<AtomicU64>) -> anyhow::Result<i32> {
    let mut signals = Signals::new().context("signals")?;
    let cpus = cpus(&source.config.workers.threads);
    let config = Arc::clone(&source.config);
    let log = LogWriter::start().context("the access log's thread")?;
    let lost = LostLines { access: log.lost(), process: process_lost };
    let plane = tokio::select! {
        plane = Plane::new(path.map(Path::to_owned), source, log, cpus.len()) => plane,
        name = signals.early_end() => {
            tracing::info!(signal = name, "ended before it was ready");
            return Ok(0);
        }
    };
    let plane = match plane {
        Ok(plane) => plane,
        Err(problems) => return Ok(tell(&problems)),
    };
    let admin = match &config.admin {
        Some(admin) => match once_free(|error| error, || AdminSocket::bind(&admin.address)).await {
            Ok(sockets) => sockets,
            Err(error) => return Ok(tell(&[plane.admin_problem(&error)])),
        },
        None => Vec::new(),
    };
    let (mailboxes, workers) = start_workers(&plane, &cpus, &config)?;
    let mailboxes = Arc::new(mailboxes);
    let handler = Admin { status: plane.status(), mailboxes: Arc::clone(&mailboxes), lost };
    for socket in admin {
        tokio::spawn(handler.clone().serve(socket));
    }
    if let Some(admin) = &config.admin {
        tracing::info!(address = %admin.address, "admin");
    }
    for (name, listener) in &config.listeners {
        tracing::info!(name, address = %listener.address, "listening");
    }
    plane.run(signals, mailboxes, workers).await?;
    Ok(0)
}

/// The CPU of each worker; `None` leaves it to the kernel.
///
/// Workers are pinned where there is one for every CPU that this process may use. With fewer (a cgroup quota,
/// a number in the configuration) several processes on one host would all be pinned to the same first CPUs.
fn cpus(threads: &Threads) -> Vec<Option<usize>> {
    let allowed: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    let count = match threads {
        Threads::Auto => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        Threads::Count(count) => *count,
        Threads::Cpus(cpus) => return cpus.iter().copied().map(Some).collect(),
    };
    if count == allowed.len() { allowed.into_iter().map(Some).collect() } else { vec![None; count] }
}

fn start_workers(
    plane: &Plane,
    cpus: &[Option<usize>],
    config: &Config,
) -> anyhow::Result<(Vec<Mailbox>, Vec<JoinHandle<()>>)> {
    let open_files = usize::try_from(sys::limits::raise_open_files()?).unwrap_or(usize::MAX);
    // Each client connection may need an upstream connection beside it.
    let connections_max = (open_files.saturating_sub(RESERVED_DESCRIPTORS) / cpus.len() / 2).max(1);
    if connections_max * cpus.len() < CONNECTIONS_WANTED {
        tracing::warn!(
            open_files,
            connections = connections_max * cpus.len(),
            wanted = RESERVED_DESCRIPTORS + 2 * CONNECTIONS_WANTED,
            "the limit of open files leaves room for few connections; raise it (LimitNOFILE, ulimit -n)"
        );
    }
    let (started, outcomes) = channel();
    let pairs = cpus.iter().map(|_| mailbox::pair()).collect::<std::io::Result<Vec<_>>>()?;
    let (mailboxes, inboxes): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let (bells, clients) = (Bells::of(&mailboxes)?, ClientConnections::default());
    let desk = Desk::start(bells.clone()).context("the thread for passwords")?;
    let mut workers = Vec::new();
    for ((index, cpu), inbox) in cpus.iter().enumerate().zip(inboxes) {
        let worker = WorkerSettings {
            index,
            log: Some(plane.log().batch()),
            connections_max,
            clients: clients.clone(),
            bells: bells.clone(),
            desk: desk.clone(),
        };
        let settings = ThreadSettings { worker, cpu: *cpu, engine: config.workers.engine, started: started.clone() };
        workers.push(start(settings, inbox)?);
    }
    let mut told = None;
    for _ in cpus {
        let selection = outcomes.recv().context("a worker ended while it started")?.context("workers.engine")?;
        // One line for all workers, unless one of them got another engine than the rest.
        if told.as_ref() == Some(&selection) {
            continue;
        }
        if selection.reason.is_empty() {
            tracing::info!(engine = %selection.engine, workers = cpus.len(), "engine");
        } else {
            tracing::warn!(engine = %selection.engine, workers = cpus.len(), reason = selection.reason, "engine");
        }
        told = Some(selection);
    }
    Ok((mailboxes, workers))
}
