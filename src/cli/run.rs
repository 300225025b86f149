//! `ringress run`: starts workers, control plane and admin listener, and ends with them.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use anyhow::Context as _;

use super::arguments::Arguments;
use super::check::tell;
use crate::admin::Admin;
use crate::clients::ClientConnections;
use crate::config::schema::{Config, Threads};
use crate::config::source::Source;
use crate::control::plane::Plane;
use crate::control::signals::Signals;
use crate::limits::RESERVED_DESCRIPTORS;
use crate::mailbox::{self, Bells, Mailbox};
use crate::observe::log_writer::LogWriter;
use crate::observe::process_log;
use crate::sys;
use crate::worker::WorkerSettings;
use crate::worker::thread::{ThreadSettings, start};

/// Runs until a signal ends it; the exit code.
pub(super) fn run(arguments: &Arguments, path: Option<&Path>, source: Source) -> anyhow::Result<i32> {
    process_log::start(arguments.log_format, &arguments.log_level).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(serve(path, source))?;
    // Not dropped: the kernel may still write into buffers of a worker that did not drain in time.
    std::process::exit(code);
}

async fn serve(path: Option<&Path>, source: Source) -> anyhow::Result<i32> {
    let signals = Signals::new().context("signals")?;
    let cpus = cpus(&source.config.workers.threads);
    let config = Arc::clone(&source.config);
    let log = LogWriter::start().context("the access log's thread")?;
    let plane = match Plane::new(path.map(Path::to_owned), source, log, cpus.len()).await {
        Ok(plane) => plane,
        Err(problems) => return Ok(tell(&problems)),
    };
    let admin = match &config.admin {
        Some(admin) => {
            let listener = tokio::net::TcpListener::bind(admin.address).await;
            Some(listener.with_context(|| format!("admin.address: cannot listen on {}", admin.address))?)
        }
        None => None,
    };
    let (mailboxes, workers) = start_workers(&plane, &cpus, &config)?;
    let mailboxes = Arc::new(mailboxes);
    if let Some(listener) = admin {
        tracing::info!(address = %listener.local_addr()?, "admin");
        let admin = Admin { status: plane.status(), mailboxes: Arc::clone(&mailboxes) };
        tokio::spawn(admin.serve(listener));
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
    let (started, outcomes) = channel();
    let pairs = cpus.iter().map(|_| mailbox::pair()).collect::<std::io::Result<Vec<_>>>()?;
    let (mailboxes, inboxes): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let (bells, clients) = (Bells::of(&mailboxes)?, ClientConnections::default());
    let mut workers = Vec::new();
    for ((index, cpu), inbox) in cpus.iter().enumerate().zip(inboxes) {
        let worker = WorkerSettings {
            index,
            log: Some(plane.log().batch()),
            connections_max,
            clients: clients.clone(),
            bells: bells.clone(),
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
