//! Leaves an endpoint out after failures in a row, and looks whether it takes connections again.
//!
//! So that no client's request is the one that finds out: a worker that could not connect tries by itself.

use std::pin::pin;
use std::rc::{Rc, Weak};

use super::Worker;
use super::connect::failure_of;
use super::io::Transport;
use super::live::LiveService;
use super::pool::Endpoint;
use super::timer::Expired;
use crate::failure::Failure;
use crate::upstream::ejection::{EjectionRules, Standing};

/// How long a trial connection may take where the service sets no limit, in milliseconds.
const CONNECT_MS: u64 = 5_000;

/// Counts a failure of the endpoint, which may leave it out.
pub(super) fn note_failure<T: Transport>(
    worker: &Rc<Worker<T>>,
    service: &LiveService<T>,
    endpoint: &Rc<Endpoint<T>>,
    rules: &EjectionRules,
    (failure, connect_ms): (Failure, Option<u64>),
) {
    let now_ms = worker.transport.coarse_ms();
    let was_out = matches!(endpoint.ejection.borrow().standing(now_ms), Standing::Out(_) | Standing::Due);
    let others_out = service.out_count(now_ms) - usize::from(was_out);
    let others = (others_out, service.endpoints.len());
    if !endpoint.ejection.borrow_mut().fails(rules, failure, now_ms, others) {
        return;
    }
    worker.metrics.borrow_mut().counters.ejections += 1;
    if was_out {
        return;
    }
    tracing::warn!(endpoint = %endpoint.address, cause = %failure, "the endpoint failed several times in a row and is left out for a while");
    let is_connect = matches!(failure, Failure::ConnectRefused | Failure::ConnectUnreachable | Failure::ConnectTimeout);
    if is_connect {
        let connect_ms = connect_ms.unwrap_or(CONNECT_MS).min(CONNECT_MS);
        worker.transport.spawn(revive(Rc::clone(worker), Rc::downgrade(endpoint), *rules, connect_ms));
    }
}

/// Connects whenever the endpoint's time is over, until it succeeds or somebody else has.
async fn revive<T: Transport>(
    worker: Rc<Worker<T>>,
    endpoint: Weak<Endpoint<T>>,
    rules: EjectionRules,
    connect_ms: u64,
) {
    loop {
        let Some(out) = endpoint.upgrade() else { return };
        let now_ms = worker.transport.coarse_ms();
        let standing = out.ejection.borrow().standing(now_ms);
        match standing {
            Standing::In(_) => return,
            Standing::Out(ms) => {
                drop(out);
                worker.transport.sleep(ms.max(1)).await;
                continue;
            }
            Standing::Due => _ = out.ejection.borrow_mut().begins(now_ms),
        }
        let timer = worker.timers.timer();
        timer.arm(connect_ms);
        let dialling = pin!(worker.transport.connect(&out.address));
        let failure = match timer.guard(dialling).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(failure_of(&error)),
            Err(Expired) => Some(Failure::ConnectTimeout),
        };
        let now_ms = worker.transport.coarse_ms();
        let mut ejection = out.ejection.borrow_mut();
        match failure {
            None => {
                ejection.succeeds(now_ms);
                tracing::info!(endpoint = %out.address, "the endpoint takes connections again");
            }
            // It is out already: how many others are says nothing about it.
            Some(failure) => _ = ejection.fails(&rules, failure, now_ms, (0, 1)),
        }
    }
}
