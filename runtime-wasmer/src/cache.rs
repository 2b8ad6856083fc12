//! Compiled modules on disk.
//!
//! What must stay true: what is loaded is byte for byte what was stored, for this
//! module, this wasmer, these settings and this processor; anything else is
//! ignored, compiled anew and written over. Nothing here ever fails a caller.
//!
//! A file is named by its key in hex, with `.code` behind it:
//!
//! ```text
//!   0         8        16                48                80
//!   +---------+--------+-----------------+-----------------+----------------+
//!   | magic   | length | key             | hash            | code, `length` |
//!   | PLKCODE1| u64 le | BLAKE3, 32      | BLAKE3, 32      | bytes          |
//!   +---------+--------+-----------------+-----------------+----------------+
//!   key  = BLAKE3 (derive mode) of what the code depends on
//!   hash = BLAKE3 keyed by `key`, of the code
//! ```

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use platform::{Disk, Open};
use wasmer::sys::{Target, vm};
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::trust;

/// Names a compiled module by everything its code depends on.
pub(crate) type Key = [u8; 32];

const MAGIC: [u8; 8] = *b"PLKCODE1";
const SUFFIX: &str = ".code";
const TEMPORARY: &str = ".tmp";
/// Files kept: enough to switch back and forth between a few versions of a service.
const MAX_FILES: usize = 8;
/// No code is larger: what a file claims is compared before memory is taken.
const MAX_CODE_BYTES: u64 = 1 << 30;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    length: U64,
    key: Key,
    hash: [u8; 32],
}

const HEADER_BYTES: usize = 80;
const _: () = assert!(size_of::<Header>() == HEADER_BYTES);

/// What happened at the cache since the runtime was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Modules loaded from disk.
    pub hits: u64,
    /// Modules that were not there.
    pub misses: u64,
    /// Files that were there and refused: damaged, foreign, or of another build.
    pub refused: u64,
    /// Files that could not be written.
    pub failed_writes: u64,
}

/// A directory of compiled modules.
pub(crate) struct Cache {
    disk: Arc<dyn Disk>,
    dir: String,
    hits: AtomicU64,
    misses: AtomicU64,
    refused: AtomicU64,
    failed_writes: AtomicU64,
    /// Tells temporary files of one process apart.
    writes: AtomicU64,
}

/// The key of a module: its bytes (metered, so the meter's changes count), wasmer's
/// version, the settings it is compiled with, the target and the processor's features.
pub(crate) fn key(metered: &[u8], settings: &str) -> Key {
    let target = Target::default();
    let features: Vec<String> =
        target.cpu_features().iter().map(|feature| format!("{feature:?}")).collect();
    let triple = target.triple().to_string();
    let mut hasher = blake3::Hasher::new_derive_key("planck compiled module cache, version 1");
    for part in [metered, vm::VERSION.as_bytes(), settings.as_bytes(), triple.as_bytes()]
        .into_iter()
        .chain(features.iter().map(String::as_bytes))
    {
        // Lengths between the parts, so that no two lists of parts look alike.
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// Code that has passed [`check`], the only maker of this.
pub(crate) struct Vouched<'a>(&'a [u8]);

impl Vouched<'_> {
    /// The code.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0
    }
}

fn header(key: &Key, code: &[u8]) -> Header {
    Header {
        magic: MAGIC,
        length: U64::new(code.len() as u64),
        key: *key,
        hash: *blake3::keyed_hash(key, code).as_bytes(),
    }
}

/// The code in a file, if it is ours.
fn check<'a>(key: &Key, file: &'a [u8]) -> Option<Vouched<'a>> {
    let (found, code) = Header::ref_from_prefix(file).ok()?;
    let wanted = header(key, code);
    (found.as_bytes() == wanted.as_bytes()).then_some(Vouched(code))
}

impl Cache {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &str) -> Self {
        Self {
            disk,
            dir: dir.trim_end_matches('/').to_owned(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed_writes: AtomicU64::new(0),
            writes: AtomicU64::new(0),
        }
    }

    pub(crate) fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            failed_writes: self.failed_writes.load(Ordering::Relaxed),
        }
    }

    /// The compiled module of that key, if it is here and whole.
    pub(crate) fn load(&self, key: &Key, engine: &wasmer::Engine) -> Option<wasmer::Module> {
        let Ok(file) = self.read(&self.path(&name(key))) else {
            self.misses.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let module = check(key, &file).and_then(|code| trust::load(engine, &code).ok());
        let counter = if module.is_some() { &self.hits } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        module
    }

    /// Keeps a compiled module. A failure is counted and otherwise nobody's problem.
    pub(crate) fn store(&self, key: &Key, code: &[u8]) {
        if self.write(key, code).is_err() {
            self.failed_writes.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn path(&self, name: &str) -> String {
        if self.dir.is_empty() { name.to_owned() } else { format!("{}/{name}", self.dir) }
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let file = self.disk.open(path, Open::Read)?;
        let len = file.len()?;
        if len > MAX_CODE_BYTES {
            // Not ours; an empty file is refused just as well.
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    fn write(&self, key: &Key, code: &[u8]) -> io::Result<()> {
        if code.len() as u64 > MAX_CODE_BYTES - HEADER_BYTES as u64 {
            return Err(io::Error::other("the code is larger than any that would be loaded"));
        }
        self.disk.create_dir(&self.dir)?;
        let name = name(key);
        self.make_room(&name)?;
        let number = self.writes.fetch_add(1, Ordering::Relaxed);
        let temporary = self.path(&format!("{name}.{number}{TEMPORARY}"));
        let file = self.disk.open(&temporary, Open::Create)?;
        file.set_len(0)?;
        file.write_at(header(key, code).as_bytes(), 0)?;
        file.write_at(code, HEADER_BYTES as u64)?;
        file.sync()?;
        self.disk.rename(&temporary, &self.path(&name))?;
        self.disk.sync_dir(&self.dir)
    }

    /// Removes what a crash left half written and all files beyond the bound.
    /// Which of them go is not important: a missing one is compiled again.
    fn make_room(&self, keep: &str) -> io::Result<()> {
        let mut others = 0;
        for found in self.disk.list(&self.dir)? {
            let ours = found.ends_with(SUFFIX);
            others += usize::from(ours && found != keep);
            if found.ends_with(TEMPORARY) || (ours && found != keep && others >= MAX_FILES) {
                self.disk.remove(&self.path(&found))?;
            }
        }
        Ok(())
    }
}

fn name(key: &Key) -> String {
    format!("{}{SUFFIX}", blake3::Hash::from_bytes(*key).to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_these_bytes() {
        // Given a key of 32 sevens and three bytes of code.
        let (key, code) = ([7; 32], [1, 2, 3]);
        let mut file = header(&key, &code).as_bytes().to_vec();
        file.extend_from_slice(&code);
        // Then magic, length, key and hash stand where the drawing says.
        assert_eq!(file[..8], *b"PLKCODE1");
        assert_eq!(file[8..16], [3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(file[16..48], key);
        assert_eq!(file[48..80], GOLDEN);
        assert_eq!(check(&key, &file).expect("ours").0, code);
    }

    const GOLDEN: [u8; 32] = [
        190, 55, 2, 220, 197, 199, 242, 210, 200, 211, 210, 156, 204, 120, 58, 95, 144, 20, 191,
        32, 11, 254, 233, 2, 51, 80, 68, 125, 102, 190, 44, 26,
    ];

    #[test]
    fn a_file_with_any_byte_changed_cut_or_added_is_refused() {
        let (key, code) = ([7; 32], [1, 2, 3]);
        let mut file = header(&key, &code).as_bytes().to_vec();
        file.extend_from_slice(&code);
        for at in 0..file.len() {
            let mut bent = file.clone();
            bent[at] ^= 1;
            assert!(check(&key, &bent).is_none(), "byte {at}");
            assert!(check(&key, &file[..at]).is_none(), "cut at {at}");
        }
        file.push(0);
        assert!(check(&key, &file).is_none(), "a byte more");
    }

    #[test]
    fn a_file_of_another_key_is_refused_under_this_name() {
        let mut file = header(&[1; 32], &[9]).as_bytes().to_vec();
        file.push(9);
        assert!(check(&[1; 32], &file).is_some());
        assert!(check(&[2; 32], &file).is_none());
        // Even with the key in the header replaced: the hash is keyed.
        file[16..48].fill(2);
        assert!(check(&[2; 32], &file).is_none());
    }

    #[test]
    fn the_key_depends_on_each_of_its_parts() {
        let base = key(b"module", "settings");
        assert_eq!(key(b"module", "settings"), base);
        assert_ne!(key(b"modulf", "settings"), base);
        assert_ne!(key(b"module", "setting"), base);
        assert_ne!(key(b"modules", "ettings"), base, "parts do not run together");
    }
}
