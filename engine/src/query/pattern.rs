//! Compiled patterns, kept for the next query that has them.
//!
//! What must stay true: a pattern means the same wherever it stands, so it is kept by
//! its text, with or without a parameter; what is kept is bounded in number and in text,
//! and each compiled pattern in bytes.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use parking_lot::Mutex;
use regex::{Regex, RegexBuilder};

/// The most a compiled pattern may take, in bytes.
pub(super) const MAX_PATTERN_BYTES: usize = 1 << 20;
/// Patterns in each of two halves.
const KEPT: usize = 16;
/// Bytes of the text of a pattern that is kept, at most.
const KEPT_TEXT: usize = 1024;

/// Two generations: when the young one is full it becomes the old one, and what is
/// asked for again moves back.
#[derive(Default)]
struct Patterns {
    young: BTreeMap<String, Regex>,
    old: BTreeMap<String, Regex>,
}

/// Of the whole process: patterns depend on nothing but their text.
static PATTERNS: LazyLock<Mutex<Patterns>> = LazyLock::new(Mutex::default);

impl Patterns {
    fn get(&mut self, text: &str) -> Option<Regex> {
        if let Some(pattern) = self.young.get(text) {
            return Some(pattern.clone());
        }
        let pattern = self.old.remove(text)?;
        self.put(text, &pattern);
        Some(pattern)
    }

    fn put(&mut self, text: &str, pattern: &Regex) {
        if text.len() > KEPT_TEXT {
            return;
        }
        if self.young.len() == KEPT {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(text.to_owned(), pattern.clone());
    }
}

/// The pattern of this text.
///
/// # Errors
/// It is none, or takes too many bytes.
pub(super) fn compiled(text: &str) -> Result<Regex, regex::Error> {
    if let Some(pattern) = PATTERNS.lock().get(text) {
        return Ok(pattern);
    }
    // Not under the lock: it may take long.
    let mut builder = RegexBuilder::new(text);
    let pattern =
        builder.size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES).build()?;
    PATTERNS.lock().put(text, &pattern);
    Ok(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_what_is_asked_for_stays() {
        let mut kept = Patterns::default();
        let pattern = Regex::new("x").unwrap();
        kept.put("hot", &pattern);
        for n in 0..200 {
            assert!(kept.get("hot").is_some(), "{n}");
            kept.put(&n.to_string(), &pattern);
            assert!(kept.young.len() <= KEPT && kept.old.len() <= KEPT);
        }
        assert!(kept.get("1").is_none());
        kept.put(&"x".repeat(KEPT_TEXT), &pattern);
        kept.put(&"y".repeat(KEPT_TEXT + 1), &pattern);
        assert!(kept.get(&"x".repeat(KEPT_TEXT)).is_some());
        assert!(kept.get(&"y".repeat(KEPT_TEXT + 1)).is_none());
    }

    #[test]
    fn a_pattern_is_compiled_once_and_means_the_same_again() {
        assert!(PATTERNS.lock().get("^a.c$").is_none());
        assert!(compiled("^a.c$").unwrap().is_match("abc"));
        assert!(PATTERNS.lock().get("^a.c$").is_some());
        assert!(compiled("^a.c$").unwrap().is_match("abc"));
        assert!(!compiled("^a.c$").unwrap().is_match("abcd"));
        assert!(compiled("(").is_err() && compiled("(").is_err());
    }
}
