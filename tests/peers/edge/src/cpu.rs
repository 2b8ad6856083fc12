//! CPU time and memory of processes, from /proc.

use std::fs;

/// Clock ticks of /proc in a second, on every Linux there is for programs.
const TICKS: f64 = 100.0;

fn field(line: &str, n: usize) -> Option<u64> {
    // The name of the program may hold spaces; what follows its bracket does not.
    line.rsplit_once(") ")?.1.split(' ').nth(n)?.parse().ok()
}

/// Every process that has this name, or this number.
fn those(pid: u32, also: Option<&str>) -> Vec<u32> {
    let mut found = vec![pid];
    let Some(also) = also else { return found };
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(other) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let name = fs::read_to_string(format!("/proc/{other}/comm")).unwrap_or_default();
        if name.trim() == also && other != pid {
            found.push(other);
        }
    }
    found
}

/// Seconds of CPU that a server has used, with its database's processes if it has any.
pub fn seconds(pid: u32, also: Option<&str>) -> f64 {
    let of = |pid: u32| {
        let line = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        field(&line, 11).unwrap_or(0) + field(&line, 12).unwrap_or(0)
    };
    those(pid, also).into_iter().map(of).sum::<u64>() as f64 / TICKS
}

/// MiB a server holds, with its database's processes; what those share counts in part
/// (the proportional set size).
pub fn memory(pid: u32, also: Option<&str>) -> f64 {
    let of = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("Pss:").map(str::trim));
        line.and_then(|l| l.split(' ').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    those(pid, also).into_iter().map(of).sum::<u64>() as f64 / 1024.0
}
