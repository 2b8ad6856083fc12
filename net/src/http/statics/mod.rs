//! Files below `static_dir`, served under their own paths.
//!
//! What must stay true: nothing outside the directory is ever opened, by dots,
//! by encoded separators or by a link that leads out; nor are files whose path
//! has a part that begins with a dot (`.git`, `.env`), but for `.well-known`. A
//! path that is no file here is no error: the guest answers it. All of that holds as it was
//! a moment ago at the earliest ([`kept`]).

mod conditions;
mod kept;
mod ranges;
mod respond;
mod types;

pub(super) use respond::{Representation, accepted, respond};

use super::encoding::{Accepted, Cache, Turns};
use hyper::header::HeaderMap;
use kept::{Kept, Known, ends};
use std::fs::{self, File, Metadata};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// A directory of files, and what is kept of them.
#[derive(Debug)]
pub(super) struct Site {
    /// Canonical.
    root: PathBuf,
    /// Those that were coded.
    cache: Cache,
    /// Whether they are coded here at all.
    is_coding: bool,
    turns: Turns,
    kept: Kept,
}

/// What a path comes to, before anything is opened.
#[derive(Debug)]
pub(super) enum Sought {
    /// There is no file.
    Nothing,
    /// A file that is in memory.
    Here(Arc<Representation>),
    /// There is something: whether it is a file shows a look that blocks.
    There(PathBuf),
}

impl Site {
    /// Of a canonical `root`.
    pub(super) fn new(root: PathBuf, cache: Cache, is_coding: bool, turns: Turns) -> Site {
        Site { root, cache, is_coding, turns, kept: Kept::new() }
    }

    /// What there is under a path for who takes these codings. Of what was asked for a
    /// moment ago without a call of the system; else one look at names, no opening.
    pub(super) fn seek(
        &self,
        path: &str,
        accepted: impl FnOnce() -> Accepted,
        now: Instant,
    ) -> Sought {
        match self.kept.recall(path, accepted, now) {
            Some(Known::Nothing) => return Sought::Nothing,
            Some(Known::File(file)) => return Sought::Here(file),
            None => {}
        }
        let Some(candidate) = self.named(path) else { return Sought::Nothing };
        // A look at names the kernel has cached costs less than asking another thread to
        // look, and every request to the guest may pass here.
        if is_there(&candidate) {
            return Sought::There(candidate);
        }
        // Whatever else begins like this has no file either.
        let is_absent = |end: &usize| self.named(&path[..*end]).is_none_or(|it| !is_there(&it));
        if let Some(end) = ends(path).find(is_absent) {
            self.kept.keep_absent(&path[..end], true, now);
        }
        Sought::Nothing
    }

    /// How a file is sent, and keeps it if it is small. Blocks.
    pub(super) fn look(
        &self,
        path: &str,
        candidate: &Path,
        accepted: Accepted,
        asked: &HeaderMap,
        now: SystemTime,
    ) -> Option<Arc<Representation>> {
        let seen = Instant::now();
        let Some(file) = respond::look(self, candidate, accepted, asked, now) else {
            self.kept.keep_absent(path, false, seen);
            return None;
        };
        let file = Arc::new(file);
        self.kept.keep(path, accepted, Arc::clone(&file), seen);
        Some(file)
    }

    /// Whether `candidate` is a file to serve. Blocks.
    pub(super) fn serves(&self, path: &str, candidate: &Path) -> bool {
        let seen = Instant::now();
        let is_served = find(&self.root, candidate).is_some();
        if !is_served {
            self.kept.keep_absent(path, false, seen);
        }
        is_served
    }

    /// The file a path means, there or not.
    fn named(&self, path: &str) -> Option<PathBuf> {
        Some(parts(path)?.iter().fold(self.root.clone(), |path, part| path.join(part)))
    }
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
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

/// An open file.
#[derive(Debug)]
struct Found {
    file: Arc<File>,
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
    Some(Found { file: Arc::new(file), path, about })
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod paths {
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
