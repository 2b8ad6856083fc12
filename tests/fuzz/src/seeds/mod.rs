//! The committed corpora, but for what was found: sound and nearly sound inputs of
//! every target, made through the encoders of the formats. `cargo run --bin seeds`
//! writes them, `tests/corpora.rs` compares them with what is committed: when a format
//! has changed, they are to be written anew.
//!
//! Must stay true: the same every time; small, since the fuzzer begins with all of them.

mod calls;
mod documents;
mod packets;
mod pages;
mod scripts;
mod web;
mod yaml;

/// An input that is made.
pub struct Seed {
    /// Whose.
    pub target: &'static str,
    /// Its file in the corpus.
    pub file: String,
    /// The input.
    pub bytes: Vec<u8>,
}

/// Every input that is made.
pub fn all() -> Vec<Seed> {
    let mut seeds = Seeds(Vec::new());
    calls::make(&mut seeds);
    documents::make(&mut seeds);
    packets::make(&mut seeds);
    pages::make(&mut seeds);
    scripts::make(&mut seeds);
    web::make(&mut seeds);
    yaml::make(&mut seeds);
    seeds.0
}

/// What collects them.
pub(crate) struct Seeds(Vec<Seed>);

impl Seeds {
    fn add(&mut self, target: &'static str, name: &str, bytes: Vec<u8>) {
        let file = format!("made-{name}");
        assert!(bytes.len() <= 8192, "{target}/{file} is more than the fuzzer takes");
        let is_new = self.0.iter().all(|seed| seed.target != target || seed.file != file);
        assert!(is_new, "{target}/{file} is made twice");
        self.0.push(Seed { target, file, bytes });
    }
}

/// An input of a target that takes choices, then changes of bytes.
#[derive(Clone)]
pub(crate) struct Script(Vec<u8>);

impl Script {
    fn new(choices: &[u8]) -> Script {
        Script(choices.to_vec())
    }

    /// Then bytes from `at` on are these.
    fn put(mut self, at: usize, bytes: &[u8]) -> Script {
        for (at, byte) in (at..).zip(bytes) {
            let place = u16::try_from(at).expect("what a script changes lies in 64 KiB");
            self.0.extend_from_slice(&place.to_le_bytes());
            self.0.push(*byte);
        }
        self
    }
}
