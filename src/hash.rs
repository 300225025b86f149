//! The hash by which all workers, hosts and versions agree, and digests as text.

use std::fmt::Write as _;
use std::net::IpAddr;

/// FNV-1a with a final mix: the same on every worker, host and version, so that all agree on an endpoint. It is no secret.
#[must_use]
pub fn hash_of(bytes: &[u8]) -> u64 {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// The hexadecimal digits of a digest.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The hash of an address.
#[must_use]
pub fn hash_of_address(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => hash_of(&address.octets()),
        IpAddr::V6(address) => hash_of(&address.octets()),
    }
}
