//! The control plane's loop: signals, changes of the file and expired names lead to publications, SIGTERM to the end.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::compile::{Kept, compile, names};
use super::file::Watch;
use super::health::Checks;
use super::listeners::{Bound, Change};
use super::notice;
use super::resolve::Resolver;
use crate::config::Source;
use crate::config::problem::Problem;
use crate::mailbox::{Mailbox, Order};
use crate::observe::log_writer::LogWriter;
use crate::snapshot::Snapshot;
use crate::status::Status;

/// How often a draining process looks whether its workers are done.
const DRAIN_LOOK: Duration = Duration::from_millis(10);

/// How often the ends of certificates are looked at.
const DAY: Duration = Duration::from_hours(24);

/// How often the control plane looks whether all workers are there.
const WORKER_LOOK: Duration = Duration::from_secs(1);

/// The control plane.
pub struct Plane {
    /// The file, for reloads; `None` where the configuration came from the command line.
    path: Option<PathBuf>,
    source: Source,
    snapshot: Arc<Snapshot>,
    kept: Kept,
    resolver: Resolver,
    checks: Checks,
    workers: usize,
    bound: Bound,
    change: Change,
    log: LogWriter,
    status: watch::Sender<Status>,
    mailboxes: Arc<Vec<Mailbox>>,
}

/// The signals that this program knows. Made before anything else: until then each of them ends the process.
pub struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    user1: Signal,
    user2: Signal,
}

/// What a signal says.
enum Told {
    End(&'static str),
    Reload,
    ReopenLog,
    Upgrade,
}

impl Signals {
    /// Receives them from now on.
    ///
    /// # Errors
    /// Where signals cannot be received.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End("SIGTERM"),
            _ = self.interrupt.recv() => Told::End("SIGINT"),
            _ = self.hangup.recv() => Told::Reload,
            _ = self.user1.recv() => Told::ReopenLog,
            _ = self.user2.recv() => Told::Upgrade,
        }
    }

    /// The next signal that ends the process.
    async fn end(&mut self) -> &'static str {
        loop {
            if let Told::End(name) = self.next().await {
                return name;
            }
        }
    }
}

impl Plane {
    /// Compiles the first snapshot and binds its listeners for so many workers.
    ///
    /// # Errors
    /// Every problem, a socket that cannot be bound and a log that cannot be opened among them.
    pub async fn new(
        path: Option<PathBuf>,
        source: Source,
        log: LogWriter,
        workers: usize,
    ) -> Result<Self, Vec<Problem>> {
        let mut resolver = Resolver::new();
        resolver.learn(&names(&source)).await;
        let mut kept = Kept::default();
        let mut snapshot = compile(&source, &resolver.resolved(), &mut kept, 1)?;
        let mut checks = Checks::new();
        checks.attend(&mut snapshot);
        snapshot.workers = workers;
        open_log(&log, &source).map_err(|problem| vec![problem])?;
        let bound = Bound::default();
        let change = bound.prepare(&snapshot, workers).map_err(|fault| vec![bind_problem(&source, &fault)])?;
        Ok(Self {
            path,
            source,
            snapshot: Arc::new(snapshot),
            kept,
            resolver,
            checks,
            workers,
            bound,
            change,
            log,
            status: watch::Sender::default(),
            mailboxes: Arc::default(),
        })
    }

    /// The access log, for workers to hand lines to.
    #[must_use]
    pub const fn log(&self) -> &LogWriter {
        &self.log
    }

    /// What the admin listener shows.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Publishes to the workers, then reacts until the process shall end and the workers have drained or the
    /// grace period is over.
    ///
    /// # Errors
    /// Where a worker ended by itself: better no process, which its supervisor starts
    /// anew, than one that answers on some of its CPUs only.
    pub async fn run(
        mut self,
        mut signals: Signals,
        mailboxes: Arc<Vec<Mailbox>>,
        workers: Vec<JoinHandle<()>>,
    ) -> std::io::Result<()> {
        let mut outcome = Ok(());
        self.mailboxes = mailboxes;
        let change = std::mem::take(&mut self.change);
        self.publish(change);
        let mut day = tokio::time::interval(DAY);
        // Only a service manager listens; there may be none.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        let mut look = tokio::time::interval(WORKER_LOOK);
        let mut watch = self.path.as_deref().map(|path| Watch::new(path, &self.source));
        loop {
            let due = self.resolver.next_due();
            tokio::select! {
                told = signals.next() => match told {
                    Told::End(name) => {
                        self.drain(name, &mut signals, &workers).await;
                        break;
                    }
                    Told::Reload => self.reload("SIGHUP", watch.as_mut()).await,
                    Told::ReopenLog => self.reopen_log(),
                    Told::Upgrade => {
                        tracing::warn!("SIGUSR2: upgrading the running binary is not built yet; nothing was done");
                    }
                },
                () = changed(watch.as_mut()) => self.reload("a file changed", watch.as_mut()).await,
                () = due_at(due) => self.resolver.ask_due(),
                is_changed = self.resolver.answer() => {
                    if is_changed {
                        self.publish_addresses();
                    }
                }
                finding = self.checks.news() => {
                    // The last word of a check that has just ended may still come.
                    if self.is_checked(&finding.key) {
                        self.status.send_modify(|status| {
                            Arc::make_mut(&mut status.findings).insert(finding.key.clone(), finding);
                        });
                    }
                }
                // At once, then each day.
                _ = day.tick() => notice::tell(&self.snapshot),
                _ = look.tick() => {
                    if let Some(worker) = workers.iter().position(JoinHandle::is_finished) {
                        outcome = Err(std::io::Error::other(format!("worker {worker} ended; the log says why")));
                        break;
                    }
                }
            }
        }
        self.bound.remove_files();
        if let Err(error) = self.log.flush() {
            tracing::error!(%error, "access log: the last lines are lost");
        }
        outcome
    }

    /// Reads the file again. Where anything is wrong with it all stays as it was, and every problem is told.
    async fn reload(&mut self, why: &str, watch: Option<&mut Watch>) {
        let Some(path) = self.path.clone() else {
            tracing::warn!(why, "there is no file to reload: the configuration came from the command line");
            return;
        };
        let read = Source::read(&path);
        if let Some(watch) = watch {
            let (text, files) = match &read {
                Ok(source) => (Some(source.text.as_bytes().to_vec()), Rc::clone(&source.files)),
                Err(_) => (std::fs::read(&path).ok(), Rc::new(self.source.files.read_again())),
            };
            watch.learn(text, files);
        }
        let problems = match self.try_reload(read).await {
            Ok(()) => {
                let generation = self.snapshot.generation;
                tracing::info!(why, generation, routes = self.snapshot.routes.len(), "reloaded");
                Vec::new()
            }
            Err(problems) => {
                tracing::error!(why, problems = problems.len(), "not reloaded; the last good configuration stays");
                problems.iter().for_each(|problem| tracing::error!("{problem}"));
                problems.iter().map(ToString::to_string).collect()
            }
        };
        self.status.send_modify(|status| status.problems = Arc::new(problems));
    }

    async fn try_reload(&mut self, read: Result<Source, Vec<Problem>>) -> Result<(), Vec<Problem>> {
        let source = read?;
        self.resolver.learn(&names(&source)).await;
        let generation = self.snapshot.generation + 1;
        let snapshot = compile(&source, &self.resolver.resolved(), &mut self.kept, generation)?;
        let change = self.bound.prepare(&snapshot, self.mailboxes.len());
        let change = change.map_err(|fault| vec![bind_problem(&source, &fault)])?;
        if source.config.access_log != self.source.config.access_log {
            open_log(&self.log, &source).map_err(|problem| vec![problem])?;
        }
        for (key, is_changed) in [
            ("workers.threads", source.config.workers.threads != self.source.config.workers.threads),
            ("workers.engine", source.config.workers.engine != self.source.config.workers.engine),
            ("admin", source.config.admin != self.source.config.admin),
        ] {
            if is_changed {
                tracing::warn!(key, "this part of the configuration takes effect at the next start");
            }
        }
        // Only now: names of a configuration that was refused must not be forgotten with it.
        self.resolver.keep_only(&names(&source));
        self.source = source;
        self.put_snapshot(snapshot);
        self.publish(change);
        notice::tell(&self.snapshot);
        Ok(())
    }

    fn put_snapshot(&mut self, mut snapshot: Snapshot) {
        snapshot.workers = self.workers;
        self.checks.attend(&mut snapshot);
        self.snapshot = Arc::new(snapshot);
        self.status.send_modify(|status| Arc::make_mut(&mut status.findings).retain(|key, _| self.is_checked(key)));
    }

    /// True where there is an active check of this endpoint.
    fn is_checked(&self, (service, address): &(String, String)) -> bool {
        let service = self.snapshot.services.iter().find(|known| *known.name == **service && known.check.is_some());
        service.is_some_and(|known| known.endpoints.iter().any(|endpoint| endpoint.address.to_string() == *address))
    }

    /// Hands the present snapshot to every worker, then the listeners that came and went with it.
    fn publish(&mut self, mut change: Change) {
        self.bound.take(&mut change);
        for mailbox in self.mailboxes.iter() {
            mailbox.give(Order::Publish(Arc::clone(&self.snapshot)));
            for label in &change.removed {
                mailbox.give(Order::Unlisten(*label));
            }
        }
        for (label, sockets) in change.added {
            for (mailbox, acceptors) in self.mailboxes.iter().zip(sockets) {
                for acceptor in acceptors {
                    mailbox.give(Order::Listen(label, acceptor));
                }
            }
        }
        self.status.send_modify(|status| {
            status.snapshot = Arc::clone(&self.snapshot);
            status.config = Arc::new(self.source.config.clone());
            status.labels = Arc::new(self.kept.labels.clone());
        });
    }

    /// An address came or went.
    fn publish_addresses(&mut self) {
        let generation = self.snapshot.generation + 1;
        match compile(&self.source, &self.resolver.resolved(), &mut self.kept, generation) {
            Ok(snapshot) => {
                self.put_snapshot(snapshot);
                let unchanged = self.bound.prepare(&self.snapshot, self.mailboxes.len()).unwrap_or_default();
                self.publish(unchanged);
                tracing::info!(generation, "the addresses of an endpoint changed");
            }
            Err(problems) => problems.iter().for_each(|problem| tracing::error!("{problem}")),
        }
    }

    fn reopen_log(&self) {
        match open_log(&self.log, &self.source) {
            Ok(()) => tracing::info!("SIGUSR1: the access log was reopened"),
            Err(problem) => tracing::error!("SIGUSR1: {problem}; the old file stays"),
        }
    }

    /// Waits for the workers to finish what they have begun; a second signal or the grace period ends it.
    async fn drain(&mut self, name: &str, signals: &mut Signals, workers: &[JoinHandle<()>]) {
        let grace = Duration::from_millis(self.source.config.shutdown.grace.ms());
        tracing::info!(signal = name, grace_s = grace.as_secs(), "draining; a second signal ends at once");
        self.status.send_modify(|status| status.is_draining = true);
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        self.mailboxes.iter().for_each(|mailbox| {
            mailbox.give(Order::Drain);
        });
        let drained = async {
            while workers.iter().any(|worker| !worker.is_finished()) {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
        };
        tokio::select! {
            () = drained => tracing::info!("drained"),
            () = tokio::time::sleep(grace) => tracing::warn!("the grace period is over; connections are cut"),
            name = signals.end() => tracing::warn!(signal = name, "ended at once; connections are cut"),
        }
    }
}

async fn changed(watch: Option<&mut Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

async fn due_at(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn open_log(log: &LogWriter, source: &Source) -> Result<(), Problem> {
    let Some(access_log) = &source.config.access_log else { return Ok(()) };
    log.open(&access_log.path).map_err(|error| {
        let what = format!("{} cannot be opened: {error}", access_log.path.display());
        source.problem("access_log.path", what, "")
    })
}

fn bind_problem(source: &Source, (name, error): &(String, std::io::Error)) -> Problem {
    let remedy = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => "end what listens there, or choose another address",
        Some(libc::EACCES) => "ports below 1024 need CAP_NET_BIND_SERVICE",
        Some(libc::EADDRNOTAVAIL) => "no interface of this host has this address",
        _ => "",
    };
    source.problem(&format!("listeners.{name}.address"), format!("cannot listen: {error}"), remedy)
}
