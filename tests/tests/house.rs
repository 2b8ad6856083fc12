//! The house: which crate may name which, read off the manifests.
//!
//! Invariant: arrows point down only, and siblings never name each other
//! (ARCHITECTURE.md draws the floors).

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Each crate of the house, with its floor.
const FLOORS: &[(&str, u8)] = &[
    ("platform", 0),
    ("proto", 0),
    ("sdk/rust", 0),
    ("sdk/client", 1),
    ("wal", 1),
    ("btree", 1),
    ("vlog", 1),
    ("lsm", 2),
    ("runtime-api", 2),
    ("net", 2),
    ("engine", 3),
    ("runtime-wasmer", 3),
    ("runtime-wasmi", 3),
    ("bins/planck", 4),
    ("bins/planctl", 4),
    ("tests", 4),
    ("tests/simulation", 4),
    ("tests/kill", 4),
    ("tests/interplay", 5),
    ("tests/siege", 5),
];

/// The one arrow along a floor: guests speak the protocol and nothing else.
const ALLOWED_ASIDE: &[(&str, &str)] = &[("sdk/rust", "proto")];

/// Crates that pull in an async runtime or a JIT; nothing else may name them.
const KEPT_IN: &[(&str, &[&str])] = &[
    ("tokio", &["sdk/client", "net", "bins/planck", "bins/planctl", "tests", "tests/siege"]),
    ("hyper", &["net"]),
    ("wasmer", &["runtime-wasmer"]),
    ("wasmi", &["runtime-wasmi"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Names under every `[…dependencies]` table of a manifest, dev ones included.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            inside = table.ends_with("dependencies");
            if let Some((_, name)) = table.split_once("dependencies.") {
                names.push(name.to_owned());
            }
        } else if inside && !line.starts_with('#') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if !name.is_empty() {
                names.push(name.trim_matches('"').to_owned());
            }
        }
    }
    names
}

/// What is wrong with one crate's dependencies, in words.
fn faults(folder: &str, floor: u8, names: &[String]) -> Vec<String> {
    let floors: BTreeMap<&str, (&str, u8)> = FLOORS
        .iter()
        .map(|&(folder, floor)| {
            let name = match folder {
                "sdk/rust" => "planck-sdk",
                "sdk/client" => "planck-client",
                other => other.rsplit('/').next().unwrap_or(other),
            };
            (name, (folder, floor))
        })
        .collect();
    let mut faults = Vec::new();
    for name in names {
        if let Some(&(to, to_floor)) = floors.get(name.as_str())
            && to_floor >= floor
            && !ALLOWED_ASIDE.contains(&(folder, to))
        {
            faults.push(format!("{folder} (floor {floor}) names {to} (floor {to_floor})"));
        }
        for (kept, homes) in KEPT_IN {
            if name == kept && !homes.contains(&folder) {
                faults.push(format!("{folder} names {kept}, which lives only in {homes:?}"));
            }
        }
    }
    faults
}

#[test]
fn arrows_point_down_only() {
    let mut found = Vec::new();
    for &(folder, floor) in FLOORS {
        let path = root().join(folder).join("Cargo.toml");
        let manifest = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        found.extend(faults(folder, floor, &dependencies(&manifest)));
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_member_of_the_workspace_has_a_floor() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = manifest.split_once("members = [").unwrap().1.split_once(']').unwrap().0;
    let mut members: Vec<_> = members.split('"').skip(1).step_by(2).collect();
    let mut floors: Vec<_> = FLOORS.iter().map(|(folder, _)| *folder).collect();
    members.sort_unstable();
    floors.sort_unstable();
    assert_eq!(members, floors);
}

#[test]
fn an_arrow_up_or_aside_is_found() {
    let manifest = "[package]\nname = \"lsm\"\n[dependencies]\nwal.workspace = true\n\
                    net = { path = \"../net\" }\n[dev-dependencies.engine]\npath = \"../engine\"\n\
                    [target.'cfg(unix)'.dependencies]\ntokio.workspace = true\n";
    let names = dependencies(manifest);
    assert_eq!(names, ["wal", "net", "engine", "tokio"]);
    let found = faults("lsm", 2, &names);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(faults("sdk/rust", 0, &["proto".into()]).is_empty());
    assert_eq!(faults("proto", 0, &["platform".into()]).len(), 1);
}
