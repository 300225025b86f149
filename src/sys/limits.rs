//! What this host allows, and its name.

#![expect(unsafe_code, reason = "the standard library does not know resource limits")]

use std::io;

/// Raises the soft limit of open files to the hard one and returns it.
///
/// # Errors
/// Where the limits cannot be read. A limit that cannot be raised is no error: the soft one is returned.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to an rlimit of this frame, which the call writes.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let wanted = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
    // SAFETY: the pointer is to an rlimit of this frame, which the call only reads.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) };
    Ok(if result == 0 { wanted.rlim_cur } else { limit.rlim_cur })
}

/// The name of this host, empty where the kernel does not say.
#[must_use]
pub fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn raising_twice_gives_the_same() {
        let first = super::raise_open_files().unwrap();
        assert!(first >= 64);
        assert_eq!(super::raise_open_files().unwrap(), first);
    }
}
