//! What the kernel counts for this process: CPU time, memory, descriptors, and when it was started.

use procfs::ProcResult;
use procfs::WithCurrentSystemInfo as _;
use procfs::process::{LimitValue, Process};

/// The kernel's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessFigures {
    /// CPU time in user and kernel mode, in milliseconds.
    pub cpu_ms: u64,
    /// Memory in RAM, in bytes.
    pub resident_bytes: u64,
    /// Address space, in bytes.
    pub virtual_bytes: u64,
    /// Open descriptors.
    pub open_fds: u64,
    /// How many may be open; `None` where there is no limit.
    pub max_fds: Option<u64>,
    /// When it was started, in milliseconds since 1970.
    pub started_ms: u64,
    /// Threads.
    pub threads: u64,
}

/// Reads them from `/proc`.
///
/// # Errors
/// Where `/proc` cannot be read.
pub fn figures() -> ProcResult<ProcessFigures> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let ticks_ms = |ticks: u64| ticks * 1_000 / procfs::ticks_per_second();
    let max_fds = match process.limits()?.max_open_files.soft_limit {
        LimitValue::Value(limit) => Some(limit),
        LimitValue::Unlimited => None,
    };
    Ok(ProcessFigures {
        cpu_ms: ticks_ms(stat.utime + stat.stime),
        resident_bytes: stat.rss_bytes().get(),
        virtual_bytes: stat.vsize,
        open_fds: process.fd_count()? as u64,
        max_fds,
        started_ms: procfs::boot_time_secs()? * 1_000 + ticks_ms(stat.starttime),
        threads: u64::try_from(stat.num_threads).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_knows_this_process() {
        let figures = super::figures().unwrap();
        assert!(figures.resident_bytes > 1 << 20 && figures.virtual_bytes >= figures.resident_bytes, "{figures:?}");
        assert!(figures.open_fds >= 3 && figures.max_fds.is_none_or(|max| max >= figures.open_fds), "{figures:?}");
        let now_ms = u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
        assert!(figures.started_ms <= now_ms + 2_000 && figures.started_ms + 86_400_000 > now_ms, "{figures:?}");
    }
}
