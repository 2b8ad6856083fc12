//! What a directory takes, and what is written for it.
//!
//! What must stay true: bytes written are those the device was given, all of them:
//! what waits in the kernel is sent before each look. (`write_bytes` of the process
//! would count a whole folio of the page cache for every page dirtied in it: twice too
//! much for scattered pages of 4 KiB.) So nothing else may write meanwhile.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes on the disk under `dir`, holes left out.
pub fn space(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => space(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0, // removed meanwhile
    };
    entries.flatten().map(size).sum()
}

/// Counts what the device under a directory is given.
pub struct Written {
    dir: File,
    stat: PathBuf,
    before: u64,
}

impl Written {
    /// From now on.
    pub fn from_now(dir: &Path) -> Result<Written, String> {
        let shown = dir.display();
        let opened = File::open(dir).map_err(|e| format!("{shown}: {e}"))?;
        let device = opened.metadata().map_err(|e| format!("{shown}: {e}"))?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let stat = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"));
        let mut written = Written { dir: opened, stat, before: 0 };
        written.before = written.total().map_err(|why| {
            format!("{why}; choose a directory on a block device with --out, {shown} is not")
        })?;
        Ok(written)
    }

    /// Bytes so far, with what still waits in the kernel.
    pub fn bytes(&self) -> Result<u64, String> {
        Ok(self.total()?.saturating_sub(self.before))
    }

    fn total(&self) -> Result<u64, String> {
        rustix::fs::syncfs(&self.dir).map_err(|e| format!("syncfs: {e}"))?;
        let shown = self.stat.display();
        let text = std::fs::read_to_string(&self.stat).map_err(|e| format!("{shown}: {e}"))?;
        // The seventh figure: sectors of 512 bytes written.
        let sectors = text.split_whitespace().nth(6).and_then(|n| n.parse::<u64>().ok());
        Ok(sectors.ok_or_else(|| format!("{shown} has no count of sectors"))? * 512)
    }
}
