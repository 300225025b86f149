//! Leaves an endpoint out after failures in a row, and looks whether it takes connections again.
//!
//! So that no client's request is the first that finds out: a worker connects by itself when the time is over.

use std::pin::pin;
use std::rc::{Rc, Weak};

use super::Worker;
use super::connect::failure_of;
use super::io::Transport;
use super::live::LiveService;
use super::pool::Endpoint;
use super::timer::Expired;
use crate::failure::Failure;
use crate::snapshot::Service;
use crate::timeouts::RESOURCE_WAIT_MS;
use crate::upstream::ejection::{EjectionRules, Standing};

/// How long a connection of the worker's own may take where the service sets no limit, in milliseconds.
const CONNECT_MS: u64 = 5_000;

/// Counts a failure of the endpoint in a request that began at `began_ms`, which may leave it out.
pub(super) fn note_failure<T: Transport>(
    worker: &Rc<Worker<T>>,
    (service, live): (&Service, &LiveService<T>),
    endpoint: &Rc<Endpoint<T>>,
    failure: Failure,
    began_ms: u64,
) {
    let now_ms = worker.transport.coarse_ms();
    let is_out = !matches!(endpoint.ejection.borrow().standing(now_ms), Standing::In(_));
    let others = (live.out_count(now_ms) - usize::from(is_out), live.endpoints.len());
    let rules = service.ejection;
    if !endpoint.ejection.borrow_mut().fails(&rules, failure, (began_ms, now_ms), others) {
        return;
    }
    worker.metrics.borrow_mut().count_ejection(service.label, failure.row().cause);
    if !is_out {
        tracing::warn!(service = %service.name, endpoint = %endpoint.address, cause = %failure, "the endpoint failed several times in a row and is left out for a while");
    }
    let connect_ms = service.timeouts.connect_ms.unwrap_or(CONNECT_MS).min(CONNECT_MS);
    worker.transport.spawn(revive(Rc::clone(worker), Rc::downgrade(endpoint), rules, connect_ms));
}

/// Connects whenever the endpoint's time is over, until that succeeds.
async fn revive<T: Transport>(
    worker: Rc<Worker<T>>,
    endpoint: Weak<Endpoint<T>>,
    rules: EjectionRules,
    connect_ms: u64,
) {
    loop {
        let Some(out) = endpoint.upgrade() else { return };
        let standing = out.ejection.borrow().standing(worker.transport.coarse_ms());
        if let Standing::Out(ms @ 1..) = standing {
            drop(out);
            worker.transport.sleep(ms).await;
            continue;
        }
        let timer = worker.timers.timer();
        timer.arm(connect_ms);
        let address = out.address.clone();
        let dialling = pin!(worker.transport.connect(&address));
        let failure = match timer.guard(dialling).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(failure_of(&error)),
            Err(Expired) => Some(Failure::ConnectTimeout),
        };
        let now_ms = worker.transport.coarse_ms();
        match failure {
            None => {
                out.ejection.borrow_mut().probe_succeeds(now_ms);
                tracing::info!(endpoint = %out.address, "the endpoint takes connections again");
                return;
            }
            // This host's shortage says nothing of the endpoint.
            Some(Failure::LocalResource(_)) => {
                drop(out);
                worker.transport.sleep(RESOURCE_WAIT_MS).await;
            }
            Some(failure) => out.ejection.borrow_mut().probe_fails(&rules, failure, now_ms),
        }
    }
}
