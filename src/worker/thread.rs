//! The thread of a worker: starts the engine, carries out the orders of the control plane, and starts the worker again
//! after a panic.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::{Builder, JoinHandle};

use super::accept::{Listening, Reserve, listen};
use super::engine::ring::Ring;
use super::engine::select::{Selection, run};
use super::engine::{Receive as _, Transport as _, half, receive};
use super::host::{Worker, WorkerSettings};
use crate::config::EngineChoice;
use crate::mailbox::{Acceptor, Inbox, Order};
use crate::snapshot::{Label, Snapshot};
use crate::timeouts::Timeout;

/// Restarts of one worker before it is given up: a fault that comes back at once is not helped by a restart.
const RESTARTS_MAX: u32 = 100;

/// What the thread of a worker is made with.
#[derive(Debug)]
pub struct ThreadSettings {
    /// What the worker is made with, each time that it is started.
    pub worker: WorkerSettings,
    /// The CPU to run on; `None` leaves it to the kernel.
    pub cpu: Option<usize>,
    /// The engine.
    pub engine: EngineChoice,
    /// Says once whether the engine runs.
    pub started: Sender<io::Result<Selection>>,
}

/// Starts a worker.
///
/// # Errors
/// Where no thread can be started.
pub fn start(settings: ThreadSettings, inbox: Inbox) -> io::Result<JoinHandle<()>> {
    let name = format!("worker-{}", settings.worker.index);
    Builder::new().name(name).spawn(move || {
        if let Some(cpu) = settings.cpu
            && !core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
        {
            tracing::warn!(worker = settings.worker.index, cpu, "the worker could not be pinned to its CPU");
        }
        supervise(settings, inbox);
    })
}

/// What survives a restart: the orders so far, as far as they still hold.
#[derive(Debug, Default)]
struct StandingOrders {
    snapshot: Option<Arc<Snapshot>>,
    acceptors: Vec<(Label, Acceptor)>,
    is_draining: bool,
}

/// Runs the worker. After a panic outside of the tasks of connections it is started again on the same listeners.
fn supervise(settings: ThreadSettings, inbox: Inbox) {
    let mut standing = StandingOrders::default();
    let outcome = run_again(settings.worker.index, || work(&settings, &inbox, &mut standing));
    match outcome {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            tracing::error!(worker = settings.worker.index, %error, "the worker ended");
            // Whoever started the worker may not wait any more.
            let _ = settings.started.send(Err(error));
        }
        None => {
            tracing::error!(worker = settings.worker.index, "the worker panicked too often and is not started again");
        }
    }
}

/// Runs until it ends without a panic; `None` where that never happened in [`RESTARTS_MAX`] restarts.
fn run_again(index: usize, mut run: impl FnMut() -> io::Result<()>) -> Option<io::Result<()>> {
    for restart in 0..=RESTARTS_MAX {
        match catch_unwind(AssertUnwindSafe(&mut run)) {
            Ok(outcome) => return Some(outcome),
            Err(_) => tracing::error!(worker = index, restart, "the worker panicked and is started again"),
        }
    }
    None
}

fn work(settings: &ThreadSettings, inbox: &Inbox, standing: &mut StandingOrders) -> io::Result<()> {
    let bell = inbox.bell.try_clone()?;
    run(settings.engine, async |ring: Ring, selection: Selection| {
        let engine = selection.engine.name();
        let _ = settings.started.send(Ok(selection));
        let worker = Worker::new(ring.clone(), settings.worker.again());
        let (reserve, listening) = (Rc::new(Reserve::new()), HashMap::new());
        let index = settings.worker.index;
        let orders = Orders { worker, ring, index, engine, reserve, listening, standing };
        orders.obey(bell, &inbox.orders).await
    })?
}

/// Where orders are carried out.
struct Orders<'a> {
    worker: Rc<Worker<Ring>>,
    ring: Ring,
    index: usize,
    engine: &'static str,
    reserve: Rc<Reserve>,
    listening: HashMap<Label, Vec<Listening>>,
    standing: &'a mut StandingOrders,
}

impl Orders<'_> {
    /// Carries out orders until the worker has drained.
    async fn obey(mut self, bell: std::os::unix::net::UnixStream, orders: &Receiver<Order>) -> io::Result<()> {
        self.resume()?;
        let mut bell = self.ring.adopt(bell)?;
        self.ring.spawn(flush_log(Rc::clone(&self.worker)));
        let mut rung = Vec::with_capacity(64);
        loop {
            while let Ok(order) = orders.try_recv() {
                self.carry_out(order);
            }
            // Another worker may have rung the bell because it made room (`mailbox::Bells`).
            self.worker.kit.wake_queues();
            self.worker.kit.wake_waiting();
            if self.standing.is_draining {
                // Yields before it counts: the task of a connection that was just accepted counts itself at its first poll.
                self.drain_turn(&mut bell.receiver, &mut rung).await;
                if self.worker.connections() == 0 {
                    self.worker.flush_log();
                    return Ok(());
                }
            } else {
                receive(&mut bell.receiver, &mut rung).await?;
            }
            rung.clear();
        }
    }

    /// Waits until the bell of the mailbox rings, at most for [`Timeout::DrainLook`]. The receive outlives the wait, so no
    /// wake-up is lost.
    async fn drain_turn(&self, bell: &mut half::RingReceiver, rung: &mut Vec<u8>) {
        let mut sleep = std::pin::pin!(self.worker.kit.pause(Timeout::DrainLook, None));
        std::future::poll_fn(|cx| {
            if bell.poll_receive(rung, cx).is_ready() {
                return std::task::Poll::Ready(());
            }
            sleep.as_mut().poll(cx)
        })
        .await;
    }

    /// Carries out the standing orders again, after a restart.
    fn resume(&mut self) -> io::Result<()> {
        if let Some(snapshot) = &self.standing.snapshot {
            self.worker.publish(snapshot);
        }
        for (label, acceptor) in &self.standing.acceptors {
            let socket = self.ring.listener(acceptor.try_clone()?)?;
            self.listening.entry(*label).or_default().push(listen(&self.worker, &self.reserve, *label, socket));
        }
        if self.standing.is_draining {
            self.worker.drain();
        }
        Ok(())
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Publish(snapshot) => {
                self.worker.publish(&snapshot);
                self.standing.snapshot = Some(snapshot);
            }
            Order::PublishService(snapshot, service) => {
                self.worker.publish_service(&service, snapshot.generation);
                self.standing.snapshot = Some(snapshot);
            }
            Order::Forget(labels) => self.worker.forget(&labels),
            Order::Listen(label, acceptor) => match acceptor.try_clone().and_then(|copy| self.ring.listener(copy)) {
                Ok(socket) => {
                    self.listening.entry(label).or_default().push(listen(&self.worker, &self.reserve, label, socket));
                    self.standing.acceptors.push((label, acceptor));
                }
                Err(error) => tracing::error!(worker = self.index, %error, "the worker cannot listen"),
            },
            Order::Unlisten(label) => {
                let gone = self.listening.remove(&label);
                gone.iter().flatten().for_each(|socket| socket.stop(&self.worker, label));
                self.standing.acceptors.retain(|(of, _)| *of != label);
            }
            Order::Drain => {
                self.standing.is_draining = true;
                for (label, sockets) in self.listening.drain() {
                    sockets.iter().for_each(|socket| socket.stop(&self.worker, label));
                }
                self.standing.acceptors.clear();
                self.worker.drain();
            }
            Order::Beat(answers) => {
                answers.fetch_add(1, Ordering::Relaxed);
            }
            Order::Report(answer) => {
                // A scrape that gave up does not want it any more.
                let _ = answer.try_send(self.worker.report(self.engine, self.ring.panics()));
            }
        }
    }
}

async fn flush_log(worker: Rc<Worker<Ring>>) {
    loop {
        let kit = &worker.kit;
        let before_ms = kit.transport.coarse_ms();
        kit.pause(Timeout::LogFlush, None).await;
        let slept_ms = kit.transport.coarse_ms().saturating_sub(before_ms);
        worker.note_lag(slept_ms.saturating_sub(Timeout::LogFlush.row().ms));
        worker.flush_log();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_panics_is_started_again_and_a_hopeless_one_is_given_up() {
        std::panic::set_hook(Box::new(|_| {}));
        let mut runs = 0;
        let outcome = run_again(0, || {
            runs += 1;
            assert!(runs > 3, "on purpose");
            Ok(())
        });
        assert!(matches!(outcome, Some(Ok(()))));
        assert_eq!(runs, 4);
        assert!(run_again(0, || panic!("on purpose")).is_none());
        drop(std::panic::take_hook());
    }
}
