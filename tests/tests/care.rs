//! Looking after a service: backup while it serves, the archive of its log,
//! restore to another moment, verify, salvage. All through the programs.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tests::{Planck, program, service_dir};

/// Small segments, so that the archive gets some; a log that is archived.
const SETTINGS: &str = "port: 0\nfile_sizes: {wal: 64KiB, vlog: 1MiB}\nbuffers: {memtable: 64KiB}\n\
                        durability: {log_archive: {enabled: true}}\n";

fn start(dir: &Path) -> Planck {
    Planck::start(dir).unwrap_or_else(|said| panic!("{said}"))
}

fn planck(arguments: &[&str], paths: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(program("planck"));
    command.args(arguments);
    for (flag, path) in paths {
        command.arg(flag).arg(path);
    }
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    format!("{out}{}", String::from_utf8_lossy(&output.stderr))
}

fn ok(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, text(output));
    text(output)
}

/// Gives a restored service the key its users have.
fn hand_over(from: &Path, to: &Path) {
    fs::copy(from.join("admin.key"), to.join("admin.key")).unwrap();
}

/// Inserts documents numbered `from..to`.
fn fill(service: &Planck, from: u32, to: u32) {
    let file = service.dir.join("rows.ndjson");
    let row = |n| format!("{{\"g\":1,\"n\":{n},\"text\":\"{}\"}}\n", "x".repeat(400));
    fs::write(&file, (from..to).map(row).collect::<String>()).unwrap();
    service.planctl_ok(&["import", "s", file.to_str().unwrap(), "--create", "--batch-size", "50"]);
}

/// How many documents there are, and the sum of their numbers.
fn count(service: &Planck) -> String {
    let query = "s.groupBy(g).aggregate(n: count(), sum: sum(n))";
    service.planctl_ok(&["query", query, "--json"])
}

/// The largest file below a directory whose name ends so.
fn largest(dir: &Path, end: &str) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.to_string_lossy().ends_with(end));
    files.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

#[test]
fn a_service_is_backed_up_while_it_serves_and_restored_to_any_commit() {
    let dir = service_dir(SETTINGS, None);
    let service = start(dir.path());
    fill(&service, 0, 1000);
    let said = service.planctl_ok(&["backup"]);
    assert!(said.contains("backup 1 is in"), "{said}");
    fill(&service, 1000, 2000);
    let then = count(&service);
    let lsn = service.planctl_ok(&["stats", "--json"]);
    let lsn = lsn.split("\"lsn\":").nth(1).unwrap().split(',').next().unwrap().trim().to_owned();
    fill(&service, 2000, 3000);
    let now = count(&service);
    assert_ne!(then, now);
    let said = service.planctl_ok(&["backup"]);
    assert!(said.contains("backup 2 is in"), "{said}");
    assert_eq!(service.stop().0, Some(0));

    let backups = dir.path().join("backups");
    let said = ok(&planck(&["backups", "--check"], &[("--dir", dir.path())]));
    assert_eq!(said.matches("every byte checked").count(), 2, "{said}");

    // The newest backup has everything.
    let again = service_dir(SETTINGS, None);
    let said = ok(&planck(&["restore"], &[("--from", &backups), ("--dir", again.path())]));
    assert!(
        said.contains("restored backup 2") && said.contains("copy the old admin.key"),
        "{said}"
    );
    hand_over(dir.path(), again.path());
    assert_eq!(count(&start(again.path())), now);

    // The first backup and the archive reach the commit in between.
    let between = service_dir(SETTINGS, None);
    let archive = dir.path().join("archive");
    let paths = [("--from", &*backups), ("--dir", between.path()), ("--archive", &*archive)];
    let arguments = ["restore", "--backup", "1", "--until-lsn", &lsn];
    let said = ok(&planck(&arguments, &paths));
    assert!(said.contains(&format!("up to commit {lsn}")), "{said}");
    hand_over(dir.path(), between.path());
    let restored = start(between.path());
    assert_eq!(count(&restored), then);
    // It is a service like any other, with backups of its own.
    fill(&restored, 5000, 5010);
    restored.planctl_ok(&["backup"]);
    drop(restored);

    // Into a directory with data: refused, nothing changed.
    let refused = planck(&["restore"], &[("--from", &backups), ("--dir", again.path())]);
    assert_eq!(refused.status.code(), Some(74), "{}", text(&refused));
    assert_eq!(count(&start(again.path())), now);
}

#[test]
fn damage_is_named_and_what_is_good_is_saved() {
    let dir = service_dir("port: 0\nbuffers: {memtable: 64KiB}\n", None);
    let service = start(dir.path());
    fill(&service, 0, 500);
    let running = planck(&["verify"], &[("--dir", dir.path())]);
    assert!(!running.status.success() && text(&running).contains("in use"), "{}", text(&running));
    assert_eq!(service.stop().0, Some(0));
    let said = ok(&planck(&["verify"], &[("--dir", dir.path())]));
    assert!(said.starts_with("no fault"), "{said}");
    assert!(said.contains("no fault between documents and indexes"), "{said}");

    // One byte in the middle of the value log.
    let victim = largest(&dir.path().join("data/vlog"), "");
    let mut bytes = fs::read(&victim).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&victim, &bytes).unwrap();
    let found = planck(&["verify"], &[("--dir", dir.path())]);
    let said = text(&found);
    assert_eq!(found.status.code(), Some(65), "{said}");
    let name = victim.file_name().unwrap().to_str().unwrap();
    assert!(said.contains("fault: ") && said.contains(name), "{said}");

    let saved = service_dir("port: 0\n", None);
    let salvaged = planck(&["salvage"], &[("--dir", dir.path()), ("--to", saved.path())]);
    assert_eq!(salvaged.status.code(), Some(65), "{}", text(&salvaged));
    hand_over(dir.path(), saved.path());
    let service = start(saved.path());
    let all = service.planctl_ok(&["query", "s.count()"]);
    assert!(all.contains("499"), "one of 500 is lost, not more: {all}");
    drop(service);
    let said = ok(&planck(&["verify"], &[("--dir", saved.path())]));
    assert!(said.starts_with("no fault"), "{said}");
}
