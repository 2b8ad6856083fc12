//! Files below `static_dir`, served under their own paths.
//!
//! What must stay true: nothing outside the directory is ever opened, by dots,
//! by encoded separators or by a link that leads out; nor are files whose path
//! has a part that begins with a dot (`.git`, `.env`), but for `.well-known`. A
//! path that is no file here is no error: the guest answers it.

mod conditions;
mod ranges;
mod respond;
mod types;

pub(super) use respond::respond;

use super::encoding::{Cache, Turns};
use std::fs::{self, File, Metadata};
use std::path::{Path, PathBuf};

/// A directory of files, and what is kept of them.
#[derive(Debug)]
pub(super) struct Site {
    /// Canonical.
    pub(super) root: PathBuf,
    /// Those that were coded.
    pub(super) cache: Cache,
    /// Whether they are coded here at all.
    pub(super) is_coding: bool,
    pub(super) turns: Turns,
}

/// The file names below the directory that a request's path means, if it can mean any.
pub(super) fn parts(path: &str) -> Option<Vec<String>> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.strip_prefix('/')?.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        match u8::from_str_radix(digits, 16).ok()? {
            b'/' | b'\\' | 0 => return None, // A separator in disguise.
            byte => bytes.push(byte),
        }
        rest = &rest[2..];
    }
    let mut path = String::from_utf8(bytes).ok()?;
    if path.is_empty() || path.ends_with('/') {
        path.push_str("index.html");
    }
    let parts: Vec<String> = path.split('/').map(str::to_owned).collect();
    let fine = |(at, part): (usize, &String)| {
        !part.is_empty()
            && !part.contains(['\\', '\0'])
            && (!part.starts_with('.') || (at == 0 && part == ".well-known"))
    };
    parts.iter().enumerate().all(fine).then_some(parts)
}

/// The file a path means, if there may be one. Cheap: one look, no opening.
pub(super) fn candidate(root: &Path, path: &str) -> Option<PathBuf> {
    let candidate = parts(path)?.iter().fold(root.to_owned(), |path, part| path.join(part));
    // A look at names the kernel has cached costs less than asking another thread to
    // look, and every request to the guest passes here.
    fs::symlink_metadata(&candidate).is_ok().then_some(candidate)
}

/// An open file.
#[derive(Debug)]
struct Found {
    file: File,
    path: PathBuf,
    about: Metadata,
}

/// Follows links and makes sure that the end is a file inside `root`. Blocks.
fn find(root: &Path, candidate: &Path) -> Option<Found> {
    let path = fs::canonicalize(candidate).ok()?;
    if !path.starts_with(root) {
        tracing::warn!(file = %candidate.display(), "not served: the link leads out of static_dir");
        return None;
    }
    // Not opened before it is known to be a file: opening a pipe would wait for ever.
    fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
    let file = File::open(&path).ok()?;
    // Of what is open: names can be given to other files meanwhile.
    let about = file.metadata().ok().filter(fs::Metadata::is_file)?;
    Some(Found { file, path, about })
}

/// Whether `candidate` is a file to serve. Blocks.
pub(super) fn is_served(root: &Path, candidate: &Path) -> bool {
    find(root, candidate).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_become_names_and_nothing_else() {
        for (path, names) in [
            ("/a.css", Some("a.css")),
            ("/a/b%20c.html", Some("a|b c.html")),
            ("/", Some("index.html")),
            ("/docs/", Some("docs|index.html")),
            ("/.well-known/x", Some(".well-known|x")),
            ("/%C3%A9", Some("é")),
            ("/..", None),
            ("/../etc/passwd", None),
            ("/a/../b", None),
            ("/%2e%2e/etc/passwd", None),
            ("/..%2fetc/passwd", None),
            ("/..%5cetc", None),
            ("/a%2fb", None),
            ("/a%5Cb", None),
            ("/a\\b", None),
            ("/%00", None),
            ("/.git/config", None),
            ("/a/.well-known", None),
            ("//etc/passwd", None),
            ("/a//b", None),
            ("/%", None),
            ("/%+1", None),
            ("/%ff", None),
            ("a", None),
            ("*", None),
        ] {
            assert_eq!(parts(path).map(|parts| parts.join("|")).as_deref(), names, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_leads_out(path in "(/|\\.|%2e|%2f|%5c|%00|%|a|é|\\\\){0,12}") {
            for part in parts(&format!("/{path}")).into_iter().flatten() {
                prop_assert!(part != ".." && part != "." && !part.contains('/') && !part.is_empty());
            }
        }
    }
}
