//! What was found under paths a moment ago: small files, and that there is none.
//!
//! What must stay true: nothing is told of a path that was not so [`FRESH`] ago or later. A
//! file is kept only with a strong tag, which no other bytes can have. What is kept has its
//! bounds, in bytes and in number; what finds no room drives nothing out that is fresh, and
//! is looked for each time, which is slower and nothing else.

use super::respond::Representation;
use crate::http::encoding::Accepted;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// For how long what was found is told without another look.
pub(super) const FRESH: Duration = Duration::from_millis(200);
/// Bytes of the largest file that is kept.
pub(super) const SMALL: u64 = 64 << 10;
/// Bytes of all that is kept of files.
const ROOM: usize = 16 << 20;
/// What a file costs beside its bytes and its path, about.
const OVERHEAD: usize = 1024;
/// Paths at most that are known to be none of a file, and bytes of each.
const ABSENT: usize = 4096;
const ABSENT_BYTES: usize = 256;

/// What is known of a path.
#[derive(Debug)]
pub(super) enum Known {
    /// There is no file.
    Nothing,
    /// It is sent so.
    File(Arc<Representation>),
}

#[derive(Debug)]
struct File {
    /// As it is sent to who takes these codings.
    accepted: Accepted,
    representation: Arc<Representation>,
    seen: Instant,
}

#[derive(Debug)]
struct Absent {
    seen: Instant,
    /// Nor is there anything below.
    is_all: bool,
}

#[derive(Debug)]
struct State {
    files: HashMap<Box<str>, Vec<File>>,
    bytes: usize,
    absent: HashMap<Box<str>, Absent>,
    swept: Option<Instant>,
}

/// See the top of the file. Paths are as requests have them, without their query.
#[derive(Debug)]
pub(super) struct Kept {
    state: RwLock<State>,
    room: usize,
    most_absent: usize,
}

fn cost(path: &str, representation: &Representation) -> usize {
    OVERHEAD + path.len() + representation.kept_bytes().unwrap_or(0)
}

/// Where the parts of a path end, the shortest way down first; the last one is its end.
pub(super) fn ends(path: &str) -> impl Iterator<Item = usize> {
    let inner = path.bytes().enumerate().skip(1).filter(|(_, byte)| *byte == b'/');
    inner.map(|(at, _)| at).chain([path.len()])
}

impl Kept {
    pub(super) fn new() -> Kept {
        Kept::bounded(ROOM, ABSENT)
    }

    fn bounded(room: usize, most_absent: usize) -> Kept {
        let (files, absent) = (HashMap::new(), HashMap::new());
        let state = State { files, bytes: 0, absent, swept: None };
        Kept { state: RwLock::new(state), room, most_absent }
    }

    /// What is known of a path, to who takes these codings.
    pub(super) fn recall(
        &self,
        path: &str,
        accepted: impl FnOnce() -> Accepted,
        now: Instant,
    ) -> Option<Known> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let is_absent = |end: usize| {
            let absent = state.absent.get(&path[..end]);
            absent.is_some_and(|it| is_fresh(it.seen, now) && (it.is_all || end == path.len()))
        };
        if !state.absent.is_empty() && ends(path).any(is_absent) {
            return Some(Known::Nothing);
        }
        let (mut files, accepted) = (state.files.get(path)?.iter(), accepted());
        let file = files.find(|file| file.accepted == accepted && is_fresh(file.seen, now))?;
        Some(Known::File(Arc::clone(&file.representation)))
    }

    /// Keeps how a file is sent that was looked at after `seen`, if it is one to keep and
    /// there is room.
    pub(super) fn keep(
        &self,
        path: &str,
        accepted: Accepted,
        representation: Arc<Representation>,
        seen: Instant,
    ) {
        if representation.kept_bytes().is_none() {
            return;
        }
        let due = cost(path, &representation);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        if let Some(files) = state.files.get_mut(path) {
            let same = files.iter().position(|file| file.accepted == accepted);
            if let Some(before) = same.map(|at| files.swap_remove(at)) {
                state.bytes -= cost(path, &before.representation);
            }
        }
        if state.bytes + due > self.room {
            state.sweep(seen);
        }
        if state.bytes + due > self.room {
            return;
        }
        state.bytes += due;
        let file = File { accepted, representation, seen };
        state.files.entry(path.into()).or_default().push(file);
    }

    /// Keeps that there was no file under a path after `seen`; `is_all`: nor below it.
    pub(super) fn keep_absent(&self, path: &str, is_all: bool, seen: Instant) {
        if path.len() > ABSENT_BYTES {
            return;
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.absent.len() >= self.most_absent && !state.absent.contains_key(path) {
            state.sweep(seen);
            if state.absent.len() >= self.most_absent {
                return;
            }
        }
        state.absent.insert(path.into(), Absent { seen, is_all });
    }
}

fn is_fresh(seen: Instant, now: Instant) -> bool {
    now.saturating_duration_since(seen) < FRESH
}

impl State {
    /// Forgets what is not fresh; seldom, since all of it is looked at.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| is_fresh(swept, now)) {
            return;
        }
        self.swept = Some(now);
        self.absent.retain(|_, absent| is_fresh(absent.seen, now));
        let bytes = &mut self.bytes;
        self.files.retain(|path, files| {
            files.retain(|file| {
                let stays = is_fresh(file.seen, now);
                *bytes -= if stays { 0 } else { cost(path, &file.representation) };
                stays
            });
            !files.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const NONE: Accepted = Accepted::NOTHING;
    const SHORT: Duration = Duration::from_millis(1);

    /// Who takes gzip.
    fn some() -> Accepted {
        let accepts = (hyper::header::ACCEPT_ENCODING, "gzip".parse().unwrap());
        Accepted::of(&[accepts].into_iter().collect())
    }

    fn file(bytes: usize) -> Arc<Representation> {
        Arc::new(Representation::of_bytes(Bytes::from(vec![b'x'; bytes])))
    }

    fn is_file(kept: &Kept, path: &str, now: Instant) -> bool {
        matches!(kept.recall(path, || NONE, now), Some(Known::File(_)))
    }

    fn is_nothing(kept: &Kept, path: &str, now: Instant) -> bool {
        matches!(kept.recall(path, || NONE, now), Some(Known::Nothing))
    }

    #[test]
    fn what_was_found_is_told_while_it_is_fresh_and_no_longer() {
        let (kept, seen) = (Kept::new(), Instant::now());
        kept.keep("/a", NONE, file(9), seen);
        kept.keep_absent("/api", true, seen);
        kept.keep_absent("/docs", false, seen);
        let last = seen + FRESH - SHORT;
        assert!(is_file(&kept, "/a", last) && !is_file(&kept, "/a", seen + FRESH));
        assert!(kept.recall("/a", some, last).is_none(), "for who takes the same");
        for path in ["/api", "/api/", "/api/x/y", "/docs"] {
            assert!(is_nothing(&kept, path, last), "{path}");
            assert!(!is_nothing(&kept, path, seen + FRESH), "{path}");
        }
        for path in ["/ap", "/apis", "/docs/", "/docs/x", "/", "/b"] {
            assert!(kept.recall(path, || NONE, last).is_none(), "{path}");
        }
        // A file that is there again is told of once the absence is old.
        kept.keep_absent("/a", true, seen);
        assert!(is_nothing(&kept, "/a", last));
        kept.keep("/a", NONE, file(9), seen + FRESH);
        assert!(is_file(&kept, "/a", seen + FRESH));
    }

    #[test]
    fn files_have_their_room_to_the_last_byte_and_what_is_fresh_is_not_driven_out() {
        let (each, seen) = (cost("/1", &file(1000)), Instant::now());
        let kept = Kept::bounded(3 * each, 1);
        for path in ["/1", "/2", "/3"] {
            kept.keep(path, NONE, file(1000), seen);
        }
        kept.keep("/4", NONE, file(1000), seen);
        // The same one anew takes no more room.
        kept.keep("/3", NONE, file(1000), seen + SHORT);
        let now = seen + SHORT;
        let here = ["/1", "/2", "/3", "/4"].map(|path| is_file(&kept, path, now));
        assert_eq!(here, [true, true, true, false]);
        // Those that nobody asked for again give way.
        let later = seen + FRESH;
        kept.keep("/4", NONE, file(1000), later);
        kept.keep("/5", NONE, file(1001), later);
        let here = ["/1", "/2", "/3", "/4", "/5"].map(|path| is_file(&kept, path, later));
        assert_eq!(here, [false, false, true, true, false], "two and a byte more");
        let state = kept.state.read().unwrap();
        assert_eq!((state.bytes, state.files.len()), (2 * each, 2));
    }

    #[test]
    fn so_many_paths_without_a_file_are_known_and_none_that_is_too_long() {
        let (kept, seen) = (Kept::bounded(0, 2), Instant::now());
        let longest = format!("/{}", "x".repeat(ABSENT_BYTES - 1));
        for path in [&longest[..], "/a", "/b", &format!("{longest}x")] {
            kept.keep_absent(path, true, seen);
        }
        assert!(is_nothing(&kept, &longest, seen) && is_nothing(&kept, "/a", seen));
        assert!(!is_nothing(&kept, "/b", seen));
        kept.keep_absent("/b", true, seen + FRESH);
        assert!(is_nothing(&kept, "/b", seen + FRESH));
        let kept = Kept::new();
        kept.keep_absent(&format!("{longest}x"), true, seen);
        assert!(kept.state.read().unwrap().absent.is_empty());
    }

    #[test]
    fn the_parts_of_a_path_end_before_each_slash_and_with_it() {
        let all = |path| ends(path).collect::<Vec<_>>();
        assert_eq!(all("/"), [1]);
        assert_eq!(all("/a"), [2]);
        assert_eq!(all("/a/"), [2, 3]);
        assert_eq!(all("/a/bc/d"), [2, 5, 7]);
    }
}
