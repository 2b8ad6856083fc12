//! What is counted of HTTP: requests by kind, and how long they took by route.
//!
//! What must stay true: whatever clients ask for, there are at most [`ROUTES`] routes:
//! the first segments of paths that were once answered well. What nobody answers, such
//! as the paths that scanners try, takes no place; a route without a place is `(other)`,
//! files are `(file)`.

use net::http::{Answered, End};
use platform::{Distribution, Histogram};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

/// Routes that are told apart.
const ROUTES: usize = 64;
/// The longest that has a place.
const ROUTE_BYTES: usize = 64;
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "other"];
const CODES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const SOURCES: [&str; 2] = ["guest", "file"];
/// How responses end that are made while they are sent.
const ENDS: [(End, &str); 3] = [(End::Whole, "whole"), (End::Cut, "cut"), (End::Gone, "gone")];
const CELLS: usize = METHODS.len() * CODES.len() * SOURCES.len();

/// See the top of the file.
pub struct HttpFigures {
    requests: [AtomicU64; CELLS],
    routes: RwLock<BTreeMap<Box<str>, Arc<Histogram>>>,
    other: Histogram,
    files: Histogram,
    received: AtomicU64,
    sent: AtomicU64,
    /// By [`ENDS`].
    streams: [AtomicU64; ENDS.len()],
}

impl Default for HttpFigures {
    fn default() -> Self {
        HttpFigures {
            requests: [const { AtomicU64::new(0) }; CELLS],
            routes: RwLock::default(),
            other: Histogram::new(),
            files: Histogram::new(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            streams: [const { AtomicU64::new(0) }; ENDS.len()],
        }
    }
}

impl HttpFigures {
    /// Counts a response.
    pub fn answered(&self, answered: &Answered<'_>) {
        let last = METHODS.len() - 1;
        let method = METHODS.iter().position(|m| *m == answered.method).unwrap_or(last);
        let code = usize::from(answered.status / 100).clamp(1, CODES.len()) - 1;
        let source = usize::from(answered.is_file);
        let cell = (method * CODES.len() + code) * SOURCES.len() + source;
        self.requests[cell].fetch_add(1, Relaxed);
        self.received.fetch_add(answered.received, Relaxed);
        self.sent.fetch_add(answered.sent, Relaxed);
        if let Some(at) = ENDS.iter().position(|(end, _)| Some(*end) == answered.streamed) {
            self.streams[at].fetch_add(1, Relaxed);
        }
        let nanos = u64::try_from(answered.took.as_nanos()).unwrap_or(u64::MAX);
        if answered.is_file {
            return self.files.record(nanos);
        }
        match self.route(answered.path, answered.status) {
            Some(route) => route.record(nanos),
            None => self.other.record(nanos),
        }
    }

    /// The route of a path; one that was answered well may get a place.
    fn route(&self, path: &str, status: u16) -> Option<Arc<Histogram>> {
        let name = name(path)?;
        // Nothing is left half-done in it if a holder panicked.
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(route) = routes.get(name) {
            return Some(Arc::clone(route));
        }
        let is_full = routes.len() >= ROUTES;
        drop(routes);
        if status >= 400 || is_full {
            return None;
        }
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        if routes.len() >= ROUTES && !routes.contains_key(name) {
            return None;
        }
        Some(Arc::clone(routes.entry(name.into()).or_default()))
    }

    /// Calls `each` for every method, class of status and source that there was.
    pub fn requests(&self, mut each: impl FnMut(&'static str, &'static str, &'static str, u64)) {
        for (at, count) in self.requests.iter().enumerate() {
            let count = count.load(Relaxed);
            let (at, source) = (at / SOURCES.len(), SOURCES[at % SOURCES.len()]);
            let (method, code) = (METHODS[at / CODES.len()], CODES[at % CODES.len()]);
            if count > 0 {
                each(method, code, source, count);
            }
        }
    }

    /// Responses that were made while they were sent, by how they ended.
    pub fn streams(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ENDS.iter().zip(&self.streams).map(|((_, name), count)| (*name, count.load(Relaxed)))
    }

    /// Nanoseconds by route, of those that there were.
    pub fn routes(&self) -> Vec<(String, Distribution)> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let of = |name: &str, seen: &Histogram| (name.to_owned(), seen.read());
        let mut all: Vec<_> = routes.iter().map(|(name, seen)| of(name, seen)).collect();
        drop(routes);
        all.extend([of("(file)", &self.files), of("(other)", &self.other)]);
        all.retain(|(_, seen)| seen.count() > 0);
        all
    }

    /// Bytes of bodies: received, and sent.
    pub fn bytes(&self) -> (u64, u64) {
        (self.received.load(Relaxed), self.sent.load(Relaxed))
    }
}

/// `/` and the first segment of a path, if it is one that can have a place.
fn name(path: &str) -> Option<&str> {
    let segment = path.strip_prefix('/')?.split('/').next()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    let fits = segment.len() < ROUTE_BYTES && segment.bytes().all(plain);
    fits.then(|| &path[..=segment.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn seen<'a>(method: &'a str, path: &'a str, status: u16, is_file: bool) -> Answered<'a> {
        let took = Duration::from_micros(10);
        Answered { method, path, status, is_file, received: 3, sent: 5, streamed: None, took }
    }

    fn names(figures: &HttpFigures) -> Vec<String> {
        figures.routes().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn requests_are_counted_by_method_class_and_source() {
        let figures = HttpFigures::default();
        for (method, status, is_file) in
            [("GET", 200, false), ("GET", 204, false), ("GET", 200, true), ("BREW", 599, false)]
        {
            figures.answered(&seen(method, "/", status, is_file));
        }
        let mut all = Vec::new();
        figures.requests(|method, code, source, n| all.push((method, code, source, n)));
        let expected = [("GET", "2xx", "guest", 2), ("GET", "2xx", "file", 1)];
        assert_eq!(all[..2], expected);
        assert_eq!(all[2..], [("other", "5xx", "guest", 1)]);
        assert_eq!(figures.bytes(), (12, 20));
    }

    #[test]
    fn streams_are_counted_by_their_end() {
        let figures = HttpFigures::default();
        figures.answered(&seen("GET", "/", 200, false));
        for end in [End::Cut, End::Gone, End::Cut] {
            figures.answered(&Answered { streamed: Some(end), ..seen("GET", "/", 200, false) });
        }
        assert_eq!(figures.streams().collect::<Vec<_>>(), [("whole", 0), ("cut", 2), ("gone", 1)]);
    }

    #[test]
    fn a_route_is_the_first_segment_and_has_its_place_from_a_good_answer_on() {
        let figures = HttpFigures::default();
        figures.answered(&seen("GET", "/.env", 404, false));
        figures.answered(&seen("GET", "/flights/17", 500, false));
        assert_eq!(names(&figures), ["(other)"]);
        figures.answered(&seen("GET", "/flights/17", 200, false));
        figures.answered(&seen("GET", "/flights", 404, false));
        figures.answered(&seen("GET", "/", 302, false));
        figures.answered(&seen("GET", "/logo.svg", 200, true));
        assert_eq!(names(&figures), ["/", "/flights", "(file)", "(other)"]);
        assert_eq!(figures.routes()[1].1.count(), 2);
        assert_eq!(figures.routes()[3].1.count(), 2);
    }

    #[test]
    fn strange_segments_have_no_place() {
        let longest = format!("/{}", "a".repeat(ROUTE_BYTES - 1));
        assert_eq!(name(&longest), Some(&*longest));
        assert_eq!(name(&format!("{longest}a")), None);
        for path in ["*", "", "/a\"b", "/a%20b", "/\u{e9}"] {
            assert_eq!(name(path), None, "{path}");
        }
        assert_eq!((name("/"), name("//a"), name("/a/b")), (Some("/"), Some("/"), Some("/a")));
    }

    #[test]
    fn so_many_routes_have_a_place_and_no_more() {
        let figures = HttpFigures::default();
        for n in 0..ROUTES {
            figures.answered(&seen("GET", &format!("/{n}"), 200, false));
        }
        assert_eq!(figures.routes().len(), ROUTES);
        figures.answered(&seen("GET", "/one-more", 200, false));
        figures.answered(&seen("GET", "/0", 200, false));
        let routes = figures.routes();
        assert_eq!(routes.len(), ROUTES + 1);
        assert_eq!(routes.last().unwrap().0, "(other)");
        assert_eq!(routes.iter().find(|(name, _)| name == "/0").unwrap().1.count(), 2);
    }
}
