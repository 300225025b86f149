//! Connections by client, counted for the whole process where a listener limits them.

#![expect(clippy::disallowed_types, reason = "asked once for a connection; in shards")]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::hash::hash_of_address;

/// Shards: as many threads can be asking at once without waiting for one another.
const SHARDS: usize = 16;

/// The connections of every client.
#[derive(Clone, Debug, Default)]
pub struct ClientConnections(Arc<[Mutex<HashMap<IpAddr, usize>>; SHARDS]>);

impl ClientConnections {
    /// Counts one more; `None`, and nothing counted, where the client has `limit` already.
    pub(crate) fn take(&self, client: IpAddr, limit: usize) -> Option<ClientPlace> {
        let client = network_of(client);
        let is_taken = self.with(client, |counts| {
            let count = counts.entry(client).or_default();
            let is_taken = *count < limit;
            *count += usize::from(is_taken);
            is_taken
        });
        is_taken.then(|| ClientPlace { clients: self.clone(), client })
    }

    fn with<R>(&self, client: IpAddr, act: impl FnOnce(&mut HashMap<IpAddr, usize>) -> R) -> R {
        let shard = usize::try_from(hash_of_address(client) % SHARDS as u64).unwrap_or(0);
        // A count is right whatever became of whoever held the lock.
        let mut counts = self.0[shard].lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut counts)
    }
}

/// What counts as one client: who has an address of IPv6 has the 2^64 beside it.
fn network_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// A connection that counts for its client until this is dropped.
#[derive(Debug)]
pub(crate) struct ClientPlace {
    clients: ClientConnections,
    client: IpAddr,
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        let client = self.client;
        self.clients.with(client, |counts| {
            if let Some(count) = counts.get_mut(&client) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&client);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_so_many_connections_in_all_and_none_is_remembered() {
        let clients = ClientConnections::default();
        let (one, other) = ("10.0.0.1".parse().unwrap(), "::1".parse().unwrap());
        let held: Vec<_> = (0..3).map_while(|_| clients.take(one, 2)).collect();
        assert_eq!(held.len(), 2);
        assert!(clients.take(other, 2).is_some());
        drop(held);
        let beside =
            ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"].map(|text| clients.take(text.parse().unwrap(), 1));
        assert_eq!(beside.map(|place| place.is_some()), [true, false, true]);
        assert!(clients.take(one, 1).is_some());
        assert!(clients.0.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }
}
