//! Leaves an endpoint out after failures in a row, and looks whether it takes connections again.
//!
//! When its time is over a worker connects by itself, so that no client's request has to find out.

use std::pin::pin;
use std::rc::{Rc, Weak};

use super::super::engine::Transport;
use super::super::kit::Kit;
use super::super::time::timer::Expired;
use super::connect::failure_of;
use super::endpoint::EndpointPool;
use super::service::Members;
use crate::failure::Failure;
use crate::timeouts::{RESOURCE_WAIT_MS, Timeout};
use crate::upstream::ejection::{Ejection, Standing};

/// Counts a failure of the endpoint in a request that began at `began_ms`, which may leave it out.
pub(super) fn note_failure<T: Transport>(
    kit: &Rc<Kit<T>>,
    members: &Members<T>,
    endpoint: &Rc<EndpointPool<T>>,
    failure: Failure,
    began_ms: u64,
) {
    let now_ms = kit.transport.coarse_ms();
    let is_out = !matches!(endpoint.passive.borrow().standing(now_ms), Standing::In(_));
    let others = (members.out_count(now_ms) - usize::from(is_out), members.endpoints.len());
    let spec = &members.service.spec;
    if !endpoint.passive.borrow_mut().fails(&spec.ejection, failure, (began_ms, now_ms), others) {
        return;
    }
    kit.metrics.borrow_mut().count_ejection(members.service.label, failure.row().cause);
    // Each worker finds out by itself; it is told once.
    if !is_out && endpoint.state.begin_out() {
        tracing::warn!(service = %members.service.name, endpoint = %endpoint.address, cause = %failure, "the endpoint failed several times in a row and is left out for a while");
    }
    let probe_ms = spec.timeouts.probe_ms();
    kit.transport.spawn(revive(Rc::clone(kit), Rc::downgrade(endpoint), spec.ejection.clone(), probe_ms));
}

/// Connects whenever the endpoint's time is over, until that succeeds.
async fn revive<T: Transport>(kit: Rc<Kit<T>>, endpoint: Weak<EndpointPool<T>>, rules: Ejection, probe_ms: u64) {
    loop {
        let Some(out) = endpoint.upgrade() else { return };
        let standing = out.passive.borrow().standing(kit.transport.coarse_ms());
        if let Standing::Out(ms @ 1..) = standing {
            drop(out);
            kit.pause(Timeout::Ejected, Some(ms)).await;
            continue;
        }
        let timer = kit.timer();
        timer.arm(Timeout::Probe, Some(probe_ms));
        let address = out.address.clone();
        let dialling = pin!(kit.transport.connect(&address));
        let failure = match timer.guard(dialling).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(failure_of(&error)),
            Err(Expired(timeout)) => Some(timeout.failure()),
        };
        let now_ms = kit.transport.coarse_ms();
        match failure {
            None => {
                out.passive.borrow_mut().probe_succeeds(now_ms);
                if out.state.end_out() {
                    tracing::info!(endpoint = %out.address, "the endpoint takes connections again");
                }
                return;
            }
            // This host's shortage says nothing of the endpoint.
            Some(Failure::LocalResource(_)) => {
                drop(out);
                kit.pause(Timeout::ResourcePause, Some(RESOURCE_WAIT_MS)).await;
            }
            Some(failure) => out.passive.borrow_mut().probe_fails(&rules, failure, now_ms),
        }
    }
}
