//! The control plane's loop: signals, changes of the file and expired names lead to publications, SIGTERM to the end.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use super::access_log;
use super::compile::{Kept, compile, names, recompile_service};
use super::drain::drain;
use super::fetches::Fetches;
use super::health::Checks;
use super::listeners::{self, Bound, Change, once_free};
use super::notice;
use super::outage::Outages;
use super::resolve::Resolver;
use super::retirement::{Gone, Retired};
use super::signals::{Signals, Told};
use super::sources::{Changed, Sources};
use super::supervisor::Supervisor;
use crate::config::problem::Problem;
use crate::config::services::ServiceSpec;
use crate::config::source::Source;
use crate::mailbox::{Mailbox, Order};
use crate::observe::log_writer::LogWriter;
use crate::snapshot::{Label, Service, Snapshot};
use crate::status::Status;
use crate::sys::memory::give_back;

/// How often the ends of certificates are looked at.
const DAY: Duration = Duration::from_hours(24);

/// How often names that are gone are looked at.
const MINUTE: Duration = Duration::from_mins(1);

/// How often the control plane looks whether all workers are there.
const WORKER_LOOK: Duration = Duration::from_secs(1);

/// The control plane.
pub struct Plane {
    sources: Sources,
    source: Source,
    snapshot: Arc<Snapshot>,
    kept: Kept,
    resolver: Resolver,
    /// Names of endpoints, each with the services that have it.
    names: HashMap<Arc<str>, Vec<Arc<str>>>,
    checks: Checks,
    fetches: Fetches,
    bound: Bound,
    change: Change,
    log: LogWriter,
    status: watch::Sender<Status>,
    mailboxes: Arc<Vec<Mailbox>>,
    retired: Retired,
    gone: Gone,
    outages: Outages,
    supervisor: Supervisor,
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
        let sources = Sources::new(path.as_deref(), source).await?;
        let source = sources.joined();
        let mut resolver = Resolver::of_system();
        let names = names(&source);
        resolver.learn(names.keys()).await;
        let mut kept = Kept::new(workers);
        let compiled = compile(&source, &resolver.resolved(), &mut kept, 1)?;
        notice::tell(&compiled.problems);
        notice::warn(&compiled.notices);
        kept.keep(compiled.parts);
        let mut checks = Checks::new();
        checks.attend(&compiled.snapshot);
        let mut fetches = Fetches::new();
        fetches.attend(kept.shared.wanted(), &compiled.snapshot);
        access_log::open(&log, &source).await?;
        let bound = Bound::default();
        let change = once_free(|(_, error)| error, || bound.prepare(&compiled.snapshot, workers)).await;
        let change = change.map_err(|fault| vec![listeners::problem(&source, &fault)])?;
        Ok(Self {
            sources,
            source,
            snapshot: Arc::new(compiled.snapshot),
            kept,
            resolver,
            names,
            checks,
            fetches,
            bound,
            change,
            log,
            status: watch::Sender::default(),
            mailboxes: Arc::default(),
            retired: Retired::default(),
            gone: Gone::default(),
            outages: Outages::default(),
            supervisor: Supervisor::of_environment(),
        })
    }

    /// What is wrong where the admin listener cannot be bound.
    #[must_use]
    pub fn admin_problem(&self, error: &std::io::Error) -> Problem {
        self.source.problem("admin.address", format!("cannot listen: {error}"), listeners::remedy(error))
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
        give_back();
        let mut minute = tokio::time::interval(MINUTE);
        let mut day = tokio::time::interval(DAY);
        self.supervisor.ready();
        let mut look = tokio::time::interval(WORKER_LOOK);
        loop {
            let due = self.resolver.next_due();
            tokio::select! {
                told = signals.next() => match told {
                    Told::End(name) => {
                        self.status.send_modify(|status| status.is_draining = true);
                        self.supervisor.stopping();
                        let grace = Duration::from_millis(self.source.config.shutdown.grace.ms());
                        drain((name, grace), &self.mailboxes, &mut signals, &workers).await;
                        break;
                    }
                    Told::Reload => self.reload("SIGHUP").await,
                    Told::ReopenLog => access_log::reopen(&self.log, &self.source),
                    Told::Upgrade => {
                        tracing::warn!("SIGUSR2: upgrading the running binary is not built yet; nothing was done");
                    }
                },
                changed = self.sources.changed() => self.take_up(changed).await,
                () = due_at(due) => self.resolver.ask_due(),
                changed = self.resolver.answer() => {
                    if let Some(name) = changed {
                        self.publish_addresses(&name);
                    }
                }
                finding = self.checks.news() => {
                    // The last word of a check that has just ended may still come.
                    if self.checks.has(&finding.key) {
                        self.status.send_modify(|status| {
                            Arc::make_mut(&mut status.findings).insert(finding.key.clone(), finding);
                        });
                    }
                }
                (source, fetched) = self.fetches.news() => {
                    if self.kept.shared.put_fetched(source, fetched) {
                        self.take("what filters ask for was fetched", Ok(self.source.clone())).await;
                    }
                }
                // At once, then each day.
                _ = day.tick() => notice::tell_ends(&self.snapshot),
                _ = minute.tick() => self.forget_gone(),
                () = self.supervisor.next_beat() => self.supervisor.beat(&self.mailboxes),
                _ = look.tick() => {
                    self.outages.look(&self.snapshot, tokio::time::Instant::now().into_std());
                    if self.retired.free() {
                        give_back();
                    }
                    if let Some(worker) = workers.iter().position(JoinHandle::is_finished) {
                        outcome = Err(std::io::Error::other(format!("worker {worker} ended; the log says why")));
                        break;
                    }
                }
            }
        }
        self.bound.remove_files();
        if let Err(error) = self.log.flush().await {
            tracing::error!(%error, "access log: the last lines are lost");
        }
        outcome
    }

    /// Takes up what changed in a source.
    async fn take_up(&mut self, changed: Changed) {
        match changed {
            Changed::File => self.reload("a file changed").await,
            Changed::Objects => {
                let joined = self.sources.joined();
                self.take("objects of the cluster changed", Ok(joined)).await;
            }
            Changed::Endpoints(services) => self.publish_endpoints(services),
        }
    }

    /// Asks the sources what holds now. Where anything is wrong with it all stays as it was, and every problem is told.
    async fn reload(&mut self, why: &str) {
        // Frees old parts first, so that they do not pile up when reloads follow each other fast.
        self.retired.free();
        let Some(read) = self.sources.read() else {
            tracing::warn!(why, "there is no file to reload: the configuration came from the command line");
            return;
        };
        self.take(why, read).await;
    }

    /// Takes a configuration where nothing is wrong with it, and tells how that went.
    async fn take(&mut self, why: &str, read: Result<Source, Vec<Problem>>) {
        self.supervisor.reloading();
        let outcome = self.try_reload(read).await;
        self.supervisor.ready();
        let generation = self.snapshot.generation;
        let (routes, services) = (self.snapshot.routes.len(), self.snapshot.services.len());
        let problems = match outcome {
            Ok(problems) => {
                tracing::info!(why, generation, routes, services, problems = problems.len(), "reloaded");
                problems
            }
            Err(problems) => {
                tracing::error!(why, problems = problems.len(), "not reloaded; the last good configuration stays");
                problems
            }
        };
        let of_cluster = self.sources.problems();
        self.status.send_modify(|status| notice::tell_new(status, &problems, of_cluster));
        give_back();
    }

    /// Compiles and publishes what was read; returns the problems of parts that were left out.
    async fn try_reload(&mut self, read: Result<Source, Vec<Problem>>) -> Result<Vec<Problem>, Vec<Problem>> {
        let source = read?;
        let names = names(&source);
        self.resolver.learn(names.keys()).await;
        let generation = self.snapshot.generation + 1;
        let compiled = compile(&source, &self.resolver.resolved(), &mut self.kept, generation)?;
        let change = self.bound.prepare(&compiled.snapshot, self.mailboxes.len());
        let change = change.map_err(|fault| vec![listeners::problem(&source, &fault)])?;
        if source.config.access_log != self.source.config.access_log {
            access_log::open(&self.log, &source).await?;
        }
        notice::next_start(&self.source.config, &source.config);
        // Only now: names of a configuration that was refused must not be forgotten with it.
        self.resolver.keep_only(|name| names.contains_key(name));
        self.names = names;
        self.source = source;
        self.sources.accept();
        self.kept.keep(compiled.parts);
        notice::warn(&compiled.notices);
        self.checks.attend(&compiled.snapshot);
        self.fetches.attend(self.kept.shared.wanted(), &compiled.snapshot);
        let before = std::mem::replace(&mut self.snapshot, Arc::new(compiled.snapshot));
        self.publish(change);
        self.retired.take(&before, &self.snapshot);
        self.forget_findings();
        notice::tell_ends(&self.snapshot);
        Ok(compiled.problems)
    }

    /// Forgets what was found of endpoints that are not checked any more.
    fn forget_findings(&self) {
        let checks = &self.checks;
        self.status.send_modify(|status| {
            if status.findings.keys().any(|key| !checks.has(key)) {
                Arc::make_mut(&mut status.findings).retain(|key, _| checks.has(key));
            }
        });
    }

    /// Forgets names that are gone for long enough, and their series.
    fn forget_gone(&mut self) {
        let now = tokio::time::Instant::now().into_std();
        let due = self.gone.due(&self.kept.labels, &self.snapshot, now);
        if due.is_empty() {
            return;
        }
        Arc::make_mut(&mut self.kept.labels).forget(&due);
        let due: Arc<[Label]> = due.into();
        for mailbox in self.mailboxes.iter() {
            mailbox.give(Order::Forget(Arc::clone(&due)));
        }
        self.status.send_modify(|status| status.labels = Arc::clone(&self.kept.labels));
    }

    /// Hands the present snapshot to every worker, and the listeners that came and went with it. A listener that went stops
    /// first: the connections that waited in its queue are served as they were accepted.
    fn publish(&mut self, mut change: Change) {
        self.bound.take(&mut change);
        for mailbox in self.mailboxes.iter() {
            for label in &change.removed {
                mailbox.give(Order::Unlisten(*label));
            }
            mailbox.give(Order::Publish(Arc::clone(&self.snapshot)));
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
            status.config = Arc::clone(&self.source.config);
            status.labels = Arc::clone(&self.kept.labels);
        });
    }

    /// The addresses of a name changed: the services that have it are compiled and published by themselves.
    fn publish_addresses(&mut self, name: &str) {
        let resolved = self.resolver.resolved();
        let services = self.names.get(name).cloned().unwrap_or_default();
        for name in services {
            match recompile_service(&self.source, &resolved, &mut self.kept, &name) {
                Ok(Some(service)) => self.publish_service(service),
                Ok(None) => {}
                Err(problems) => notice::tell(&problems),
            }
        }
    }

    /// The endpoints of services of a cluster changed: they are compiled and published by themselves.
    fn publish_endpoints(&mut self, services: Vec<(String, Arc<ServiceSpec>)>) {
        for (name, spec) in services {
            self.status.send_modify(|status| {
                // Only while nobody else has it can a part of it be changed in its place.
                status.config = Arc::default();
                self.source.put_service(&name, spec);
                status.config = Arc::clone(&self.source.config);
            });
            match recompile_service(&self.source, &self.resolver.resolved(), &mut self.kept, &name) {
                Ok(Some(service)) => self.publish_service(service),
                Ok(None) => {}
                Err(problems) => notice::tell(&problems),
            }
        }
    }

    /// Hands one service to every worker, in the place of the one of that name.
    fn publish_service(&mut self, service: Arc<Service>) {
        let known = &self.snapshot.services;
        let Some(at) = known.search_by(|known| known.name.cmp(&service.name)) else { return };
        let Some(before) = known.get(at).cloned() else { return };
        let services = known.with(at, Arc::clone(&service));
        let snapshot =
            Snapshot { services, generation: self.snapshot.generation + 1, ..Snapshot::clone(&self.snapshot) };
        self.checks.attend_service(&service, Some(&before));
        self.fetches.attend_service(&service);
        self.kept.keep_service(&service);
        let old: Arc<Snapshot> = std::mem::replace(&mut self.snapshot, Arc::new(snapshot));
        self.retired.take_part(old);
        for mailbox in self.mailboxes.iter() {
            mailbox.give(Order::PublishService(Arc::clone(&self.snapshot), Arc::clone(&service)));
        }
        let (generation, endpoints) = (self.snapshot.generation, service.endpoints.len());
        tracing::debug!(generation, service = &*service.name, endpoints, "the addresses of an endpoint changed");
        self.retired.take_part(before);
        self.status.send_modify(|status| status.snapshot = Arc::clone(&self.snapshot));
        self.forget_findings();
    }
}

async fn due_at(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
