//! What a server uses of the processor: the time of all threads of its process and of
//! those it has started, as the kernel counts it (`/proc`, in nanoseconds).
//!
//! What must stay true: a thread that began between two looks counts whole. One that
//! ended between them counts no more, so connections stay open until the second look.

use std::collections::BTreeMap;
use std::fs;

/// Nanoseconds by thread.
pub struct Used(BTreeMap<u32, u64>);

impl Used {
    /// By this process and its descendants so far.
    pub fn by(process: u32) -> Result<Used, String> {
        let mut used = BTreeMap::new();
        for process in family(process)? {
            // Who has ended meanwhile is not looked at.
            let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { continue };
            for task in tasks.flatten() {
                let spent = fs::read_to_string(task.path().join("schedstat"));
                if let (Some(id), Ok(spent)) = (number(&task.file_name()), spent) {
                    used.insert(id, first(&spent)?);
                }
            }
        }
        match used.is_empty() {
            true => Err(format!("/proc says nothing of the threads of process {process}")),
            false => Ok(Used(used)),
        }
    }

    /// Microseconds since then.
    pub fn since(&self, then: &Used) -> f64 {
        let each = |(id, now): (&u32, &u64)| now.saturating_sub(*then.0.get(id).unwrap_or(&0));
        self.0.iter().map(each).sum::<u64>() as f64 / 1e3
    }
}

fn first(spent: &str) -> Result<u64, String> {
    let number = spent.split(' ').next().and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("schedstat says {spent:?}"))
}

fn number(name: &std::ffi::OsStr) -> Option<u32> {
    name.to_str()?.parse().ok()
}

/// Which process started this one.
pub fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Behind the name in brackets, which may hold anything: the state, then the parent.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// A process and its descendants.
fn family(process: u32) -> Result<Vec<u32>, String> {
    let entries = fs::read_dir("/proc").map_err(|e| format!("/proc: {e}"))?;
    let all = entries.flatten().filter_map(|entry| number(&entry.file_name()));
    let parents: Vec<(u32, u32)> = all.filter_map(|id| Some((id, parent(id)?))).collect();
    let mut family = vec![process];
    let mut at = 0;
    while let Some(&of) = family.get(at) {
        family.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(id, _)| *id));
        at += 1;
    }
    Ok(family)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio, id};
    use std::time::{Duration, Instant};

    #[test]
    fn what_threads_and_children_use_is_counted() {
        let before = Used::by(id()).unwrap();
        // A child that works in a child of its own, until it is told to end.
        let work = "sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done; echo; read x'; :";
        let mut child = Command::new("sh")
            .args(["-c", work])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
        let theirs = Used::by(id()).unwrap().since(&before);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(theirs > 5_000.0, "{theirs} us");
        let (before, start) = (Used::by(id()).unwrap(), Instant::now());
        let (end, ended) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while start.elapsed() < Duration::from_millis(50) {}
                ended.recv().ok();
            });
            std::thread::sleep(Duration::from_millis(120));
            let ours = Used::by(id()).unwrap().since(&before);
            drop(end);
            assert!(ours > 10_000.0, "{ours} us");
        });
    }

    #[test]
    fn a_thread_counts_from_when_it_began() {
        let used = |all: &[(u32, u64)]| Used(all.iter().copied().collect());
        let (then, now) = (used(&[(1, 5_000), (2, 7_000)]), used(&[(1, 6_000), (3, 4_000)]));
        assert_eq!(now.since(&then), 5.0);
    }

    #[test]
    fn nobody_is_told_from_somebody_idle() {
        assert!(Used::by(u32::MAX).is_err());
    }
}
