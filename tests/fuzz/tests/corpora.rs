//! Every committed input of every target, as a plain test; and that each corpus comes
//! to every place that its target is for. An input that a format has left behind no
//! longer comes there: then `cargo run --bin seeds` writes the corpora anew.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The committed inputs of a target, by name.
fn inputs(target: &str) -> BTreeMap<String, Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = std::fs::read_dir(corpus);
    let entries = entries.unwrap_or_else(|e| panic!("the corpus of {target}: {e}"));
    let input = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read(path).unwrap())
    };
    entries.map(|entry| input(entry.unwrap().path())).collect()
}

#[test]
fn no_committed_input_breaks_its_target_and_every_place_is_reached() {
    let mut lacking = Vec::new();
    for target in fuzz::TARGETS {
        (target.run)(&[]);
        fuzz::marks::take();
        let inputs = inputs(target.name);
        inputs.values().for_each(|input| (target.run)(input));
        let marks = fuzz::marks::take();
        println!("{}: {} inputs", target.name, inputs.len());
        marks.iter().for_each(|(mark, times)| println!("  {times} {mark}"));
        assert!(!target.places.is_empty(), "{} is for nothing", target.name);
        for place in target.places {
            if !marks.keys().any(|mark| mark.contains(place)) {
                lacking.push(format!("{}: {place}", target.name));
            }
        }
    }
    assert!(lacking.is_empty(), "no committed input comes to\n{}", lacking.join("\n"));
}

#[test]
fn what_is_made_is_what_is_committed() {
    let mut made: BTreeMap<&str, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for seed in fuzz::seeds::all() {
        made.entry(seed.target).or_default().insert(seed.file, seed.bytes);
    }
    let names: BTreeSet<_> = fuzz::TARGETS.iter().map(|target| target.name).collect();
    assert!(made.keys().all(|name| names.contains(name)), "inputs of no target");
    for name in names {
        let made = made.remove(name).unwrap_or_default();
        let mut committed = inputs(name);
        committed.retain(|file, _| file.starts_with("made-"));
        let differs = |file: &&String| made.get(*file) != committed.get(*file);
        let differ: BTreeSet<_> = made.keys().chain(committed.keys()).filter(differs).collect();
        assert!(
            differ.is_empty(),
            "{name}: {differ:?} are not as they are made: has a format changed? write them anew: \
             cargo run --manifest-path tests/fuzz/Cargo.toml --bin seeds"
        );
    }
}
