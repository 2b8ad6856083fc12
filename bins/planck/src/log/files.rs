//! The log in files: one that is written, and a bounded number of older ones.
//!
//! ```text
//! planck.log   planck.log.1 (the last before it)   planck.log.2  ..
//! ```
//!
//! What must stay true: a file is at most as long as is set, and there are at most as
//! many as are set, whatever fails: if there cannot be another file, lines are dropped
//! until there can. Nobody but the owner reads them. A line is in one file whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// See the top of the file.
pub struct Files {
    path: PathBuf,
    file: File,
    bytes: u64,
    most_bytes: u64,
    keep: u64,
}

impl Files {
    /// Goes on behind what is there. `keep`: files at most, the one being written included.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: PathBuf, most_bytes: u64, keep: u64) -> io::Result<Files> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let (file, bytes) = open(&path)?;
        Ok(Files { path, file, bytes, most_bytes, keep: keep.max(1) })
    }

    /// Writes a line, into the next file if this one has no room for it.
    ///
    /// # Errors
    /// The system's: the line, or its end, is not there.
    pub fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let bytes = line.len() as u64;
        if self.bytes > 0 && self.bytes + bytes > self.most_bytes {
            self.rotate()?;
        }
        // Counted before: half a line is there too.
        self.bytes += bytes;
        self.file.write_all(line)
    }

    /// Writes to whatever is under the name now.
    ///
    /// # Errors
    /// The system's: the file of before is written on.
    pub fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.bytes) = open(&self.path)?;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let older = |n: u64| match n {
            0 => self.path.clone(),
            n => {
                let mut name = self.path.clone().into_os_string();
                name.push(format!(".{n}"));
                PathBuf::from(name)
            }
        };
        // The last is replaced by the one before it, or removed if it is the only one.
        if self.keep == 1 {
            fs::remove_file(&self.path)?;
        }
        for n in (1..self.keep).rev() {
            match fs::rename(older(n - 1), older(n)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        self.reopen()
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn texts(dir: &Path) -> Vec<(String, String)> {
        let mut all: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect();
        all.sort();
        all
    }

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_file_is_filled_to_its_bound_and_so_many_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Files::open(dir.path().join("a.log"), 10, 3).unwrap();
        for line in ["1234\n", "5678\n"] {
            files.write(line.as_bytes()).unwrap();
        }
        assert_eq!(texts(dir.path()), pairs(&[("a.log", "1234\n5678\n")]));
        for line in ["b\n", "cccccccc\n", "d\n", "eeeeeeeee\n"] {
            files.write(line.as_bytes()).unwrap();
        }
        let expected = [("a.log", "eeeeeeeee\n"), ("a.log.1", "d\n"), ("a.log.2", "cccccccc\n")];
        assert_eq!(texts(dir.path()), pairs(&expected));
        let mode = fs::metadata(dir.path().join("a.log")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_line_longer_than_a_file_has_one_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Files::open(dir.path().join("a.log"), 4, 1).unwrap();
        for line in ["a\n", "longer\n", "b\n"] {
            files.write(line.as_bytes()).unwrap();
        }
        assert_eq!(texts(dir.path()), pairs(&[("a.log", "b\n")]));
    }

    #[test]
    fn what_is_there_counts_after_a_start_and_a_move() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/a.log");
        let mut files = Files::open(path.clone(), 8, 2).unwrap();
        files.write(b"12345\n").unwrap();
        drop(files);
        let mut files = Files::open(path.clone(), 8, 2).unwrap();
        files.write(b"678\n").unwrap();
        let sub = dir.path().join("sub");
        assert_eq!(texts(&sub), pairs(&[("a.log", "678\n"), ("a.log.1", "12345\n")]));
        // Moved away by somebody: written on there, until it is opened anew.
        fs::rename(&path, sub.join("moved")).unwrap();
        files.write(b"90\n").unwrap();
        files.reopen().unwrap();
        files.write(b"z\n").unwrap();
        let expected = [("a.log", "z\n"), ("a.log.1", "12345\n"), ("moved", "678\n90\n")];
        assert_eq!(texts(&sub), pairs(&expected));
    }

    #[test]
    fn where_there_can_be_no_other_file_lines_are_dropped_and_none_grows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut files = Files::open(path.clone(), 4, 2).unwrap();
        files.write(b"abc\n").unwrap();
        let blocked = dir.path().join("a.log.1");
        fs::create_dir_all(blocked.join("x")).unwrap();
        assert!(files.write(b"def\n").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "abc\n");
        fs::remove_dir_all(blocked).unwrap();
        files.write(b"ghi\n").unwrap();
        assert_eq!(texts(dir.path()), pairs(&[("a.log", "ghi\n"), ("a.log.1", "abc\n")]));
    }
}
