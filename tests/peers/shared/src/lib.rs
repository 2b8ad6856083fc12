//! What the programs that compare have in common: figures as they are collected
//! (`rows`), the table and the file they go to (`report`), arguments (`args`), and
//! directories for the data of an engine.
//!
//! What must stay true: figures of one run are compared with figures of that run
//! only.

pub mod args;
pub mod report;
pub mod rows;

use std::path::{Path, PathBuf};

/// Bytes of cache each engine gets, where it has a cache of its own.
pub const CACHE_BYTES: usize = 256 << 20;

/// An empty directory.
pub fn fresh(dir: &Path) -> Result<PathBuf, String> {
    let failed = |e| format!("{} could not be emptied: {e}", dir.display());
    if dir.exists() {
        std::fs::remove_dir_all(dir).map_err(failed)?;
    }
    std::fs::create_dir_all(dir).map_err(failed)?;
    Ok(dir.to_owned())
}

/// Reads a value as a user would: every cache line of it.
pub fn touch(value: &[u8]) -> u64 {
    value.iter().step_by(64).map(|b| u64::from(*b)).sum()
}

/// splitmix64: all choices are made of counters by it.
pub fn mix(n: u64) -> u64 {
    let mut x = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Of the engines there are, those asked for by name: all, if none is.
pub fn chosen<'a, E: Copy>(
    all: &'a [E],
    name: impl Fn(&E) -> &'static str,
    wanted: &[String],
) -> Result<Vec<E>, String> {
    if let Some(other) = wanted.iter().find(|wanted| all.iter().all(|e| name(e) != **wanted)) {
        let known = all.iter().map(&name).collect::<Vec<_>>().join(" ");
        return Err(format!("there is no engine {other}; there are: {known}"));
    }
    let is_wanted = |e: &&'a E| wanted.is_empty() || wanted.iter().any(|w| w == name(e));
    Ok(all.iter().filter(is_wanted).copied().collect())
}
