//! What a path may be: relative to the disk's root and unable to leave it.
//!
//! Invariant: both disks refuse the same paths, so that a test on the simulated
//! disk cannot pass with a name the real one would not take.

use std::io;

/// A file's path: at least one component.
pub(crate) fn check_file(path: &str) -> io::Result<()> {
    if path.is_empty() {
        return Err(refuse(path, "is empty"));
    }
    check_dir(path)
}

/// A directory's path: `""` is the root.
pub(crate) fn check_dir(path: &str) -> io::Result<()> {
    if path.is_empty() {
        return Ok(());
    }
    if path.contains(['\0', '\\']) {
        return Err(refuse(path, "holds a NUL or a backslash"));
    }
    for part in path.split('/') {
        match part {
            "" => return Err(refuse(path, "is absolute or has an empty component")),
            "." | ".." => return Err(refuse(path, "has a component `.` or `..`")),
            _ if part.len() > 255 => return Err(refuse(path, "has a component over 255 bytes")),
            _ => {}
        }
    }
    Ok(())
}

/// The directory a path lies in; `""` is the root.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// `"a/b/c"` gives `"a"`, `"a/b"`, `"a/b/c"`; `""` gives nothing.
pub(crate) fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    ends.filter(|end| *end > 0).map(|end| &path[..end])
}

fn refuse(path: &str, why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "the path {path:?} {why}; give one relative to the data directory, like \"wal/1.wal\""
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_the_root() {
        for bad in ["", "/a", "a/", "a//b", ".", "..", "a/../b", "../a", "a/.", "a\0b", "a\\b"] {
            let error = check_file(bad).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bad:?}");
        }
        for good in ["a", "a/b", "a/..b", ".a", "wal/00000000000000000001.wal"] {
            check_file(good).unwrap();
        }
        check_file(&"x".repeat(256)).unwrap_err();
        check_dir("").unwrap();
    }

    #[test]
    fn parents_and_prefixes() {
        assert_eq!((parent("a/b/c"), parent("a")), ("a/b", ""));
        assert_eq!(prefixes("a/b/c").collect::<Vec<_>>(), ["a", "a/b", "a/b/c"]);
        assert_eq!(prefixes("").count(), 0);
    }
}
