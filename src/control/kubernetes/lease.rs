//! One of several replicas writes to the cluster: the holder of a Lease.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::Instant;

use super::objects::ObjectName;

/// How long a Lease holds that is not renewed, in seconds.
const HOLDS_S: i32 = 15;

/// How often it is renewed.
pub(super) const RENEW: Duration = Duration::from_secs(5);

/// A Lease, and what is known of it.
pub(super) struct Holding {
    api: Api<Lease>,
    name: ObjectName,
    /// Who we are.
    identity: String,
    /// The renewal that was seen last, and when: the clocks of others are not believed.
    seen: Option<(Option<MicroTime>, Instant)>,
    /// Until when we hold it.
    until: Option<Instant>,
}

impl Holding {
    /// The Lease of this name.
    pub(super) fn new(client: &Client, name: ObjectName, identity: String) -> Self {
        let api = Api::namespaced(client.clone(), &name.namespace);
        Self { api, name, identity, seen: None, until: None }
    }

    /// Takes or renews it; true where it is ours for a while.
    pub(super) async fn hold(&mut self) -> bool {
        let asked = Instant::now();
        match self.try_hold().await {
            Ok(true) => self.until = Some(asked + Duration::from_secs(HOLDS_S.unsigned_abs().into())),
            Ok(false) => self.until = None,
            // Whoever cannot renew it has it until it would be taken from him.
            Err(error) => tracing::debug!(%error, lease = %self.name, "the Lease cannot be renewed"),
        }
        self.until.is_some_and(|until| Instant::now() < until)
    }

    async fn try_hold(&mut self) -> Result<bool, kube::Error> {
        let Some(mut lease) = self.api.get_opt(&self.name.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.name.to_string()), ..ObjectMeta::default() },
                spec: Some(self.spec(1)),
            };
            return won(self.api.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.take().unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let is_ours = holder == self.identity;
        if !is_ours && !holder.is_empty() {
            let is_new = self.seen.as_ref().is_none_or(|(renewed, _)| *renewed != spec.renew_time);
            if is_new {
                self.seen = Some((spec.renew_time.clone(), Instant::now()));
            }
            let holds = Duration::from_secs(spec.lease_duration_seconds.unwrap_or(HOLDS_S).unsigned_abs().into());
            if self.seen.as_ref().is_some_and(|(_, since)| since.elapsed() <= holds) {
                return Ok(false);
            }
        }
        let transitions = spec.lease_transitions.unwrap_or(0) + i32::from(!is_ours);
        lease.spec = Some(LeaseSpec { acquire_time: spec.acquire_time.filter(|_| is_ours), ..self.spec(transitions) });
        won(self.api.replace(&self.name.name, &PostParams::default(), &lease).await)
    }

    fn spec(&self, transitions: i32) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(HOLDS_S),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

/// False where another one was faster.
fn won(done: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match done {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
