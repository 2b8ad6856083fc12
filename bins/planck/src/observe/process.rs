//! What the system tells of this process.

use rustix::process::{Resource, getrlimit};

/// What a tick of the kernel's accounts is, whatever its own clock: 10 ms on Linux.
const TICK_NANOS: u64 = 10_000_000;

/// A picture of the process; what cannot be read is `None`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// Bytes of memory that are in use and not swapped out.
    pub resident: Option<u64>,
    /// Of them, those that are of no file.
    pub anonymous: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open files, sockets included.
    pub files: Option<u64>,
    /// As many as may be open.
    pub most_files: Option<u64>,
    /// Nanoseconds of processors used.
    pub cpu_nanos: Option<u64>,
}

impl Process {
    /// Now. Reads a few small files of the kernel's.
    pub fn look() -> Process {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Process {
            resident: line(&status, "VmRSS:").map(|kib| kib * 1024),
            anonymous: line(&status, "RssAnon:").map(|kib| kib * 1024),
            threads: line(&status, "Threads:"),
            // Less the one that this look has open.
            files: std::fs::read_dir("/proc/self/fd")
                .ok()
                .map(|all| (all.count() as u64).saturating_sub(1)),
            most_files: getrlimit(Resource::Nofile).current,
            cpu_nanos: ticks(&stat).map(|ticks| ticks.saturating_mul(TICK_NANOS)),
        }
    }
}

/// Ticks of processors used, in the program and for it. They are the 14th and 15th of
/// what `stat` says; the second, the program's name, is in brackets and may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_whitespace().skip(11);
    let mut next = || words.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// The number behind a name.
fn line(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_itself() {
        let process = Process::look();
        assert!(process.anonymous.is_some_and(|bytes| bytes > 1 << 16), "{process:?}");
        assert!(process.resident > process.anonymous, "its program is of a file: {process:?}");
        assert!(process.threads.is_some_and(|threads| threads >= 1), "{process:?}");
        assert!(process.files.is_some_and(|files| files >= 3), "{process:?}");
        assert!(process.cpu_nanos.is_some(), "{process:?}");
    }

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "7 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 30 12 13 14";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 (a) S 1 2"), None);
    }

    #[test]
    fn a_line_is_found_by_its_whole_name() {
        let status = "VmPeak:\t  900 kB\nVmRSS:\t  12 kB\nThreads:\t3\n";
        assert_eq!(line(status, "VmRSS:"), Some(12));
        assert_eq!(line(status, "Threads:"), Some(3));
        assert_eq!(line(status, "VmSwap:"), None);
    }
}
