//! What this host allows, and its name.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one and returns it.
///
/// # Errors
/// Where the limits cannot be read. A limit that cannot be raised is no error: the soft one is returned.
pub fn raise_open_files() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft })
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
