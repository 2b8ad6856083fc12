//! A directory, looked at by a clock that says that all in it is old.

use super::kept::{FRESH, SMALL};
use super::*;
use http_body_util::BodyExt;
use hyper::header::{ACCEPT_ENCODING, HeaderName, HeaderValue, IF_NONE_MATCH, RANGE};
use hyper::{Response, StatusCode};
use std::collections::BTreeMap;
use std::time::Duration;

const NONE: Accepted = Accepted::NOTHING;

struct House {
    dir: tempfile::TempDir,
    site: Site,
}

impl House {
    fn new() -> House {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap().join("static");
        fs::create_dir(&root).unwrap();
        fs::write(dir.path().join("secret.txt"), "secret").unwrap();
        House { dir, site: Site::new(root, Cache::new(1 << 20), true, Turns::new()) }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.site.root.join(name), bytes).unwrap();
    }

    fn seek(&self, path: &str, now: Instant) -> Sought {
        self.site.seek(path, || NONE, now)
    }

    /// A look, so long after the last change.
    fn look_after(&self, path: &str, seconds: u64) -> Option<Arc<Representation>> {
        let now = SystemTime::now() + Duration::from_secs(seconds);
        let Sought::There(candidate) = self.seek(path, Instant::now() + FRESH) else {
            return None;
        };
        self.site.look(path, &candidate, NONE, &HeaderMap::new(), now)
    }

    fn look(&self, path: &str) -> Option<Arc<Representation>> {
        self.look_after(path, 10)
    }

    fn is_kept(&self, path: &str) -> bool {
        matches!(self.seek(path, Instant::now()), Sought::Here(_))
    }
}

async fn answer(
    file: &Representation,
    asked: &[(HeaderName, &str)],
    head: bool,
) -> (StatusCode, BTreeMap<String, String>, Vec<u8>) {
    let asked = asked.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
    let boundary = || HeaderValue::from_static("boundary");
    let response = respond(file, &asked, head, &boundary);
    let (parts, body) = Response::into_parts(response);
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    let headers = parts.headers.iter().map(header).collect();
    (parts.status, headers, body.collect().await.unwrap().to_bytes().to_vec())
}

#[tokio::test]
async fn a_file_in_memory_is_answered_for_as_one_that_is_read() {
    let house = House::new();
    let bytes: Vec<u8> = (0..SMALL).map(|n| (n % 251) as u8).collect();
    for (name, bytes) in [("a.txt", &bytes[..]), ("empty.txt", &[])] {
        house.write(name, bytes);
        let path = format!("/{name}");
        let candidate = house.site.root.join(name);
        let old = SystemTime::now() + Duration::from_secs(10);
        let read = || Representation::unread(&house.site, &candidate, old);
        let kept = house.look(&path).unwrap();
        assert!(house.is_kept(&path));
        let etag = answer(&kept, &[], false).await.1["etag"].clone();
        for asked in [
            &[][..],
            &[(RANGE, "bytes=1-2")],
            &[(RANGE, "bytes=5-")],
            &[(RANGE, "bytes=-7")],
            &[(RANGE, "bytes=0-1, 9-12,-1")],
            &[(RANGE, "bytes=99999-")],
            &[(IF_NONE_MATCH, &etag)],
        ] {
            for head in [false, true] {
                let expected = answer(&read(), asked, head).await;
                assert_eq!(answer(&kept, asked, head).await, expected, "{name} {asked:?}");
            }
        }
        assert_eq!(answer(&kept, &[], false).await.2, bytes);
    }
}

#[test]
fn a_file_that_changes_or_goes_is_seen_after_its_time() {
    let house = House::new();
    for name in ["changes.txt", "goes.txt", "leads-out.txt"] {
        house.write(name, "old");
        assert!(house.look(&format!("/{name}")).is_some());
    }
    house.write("changes.txt", "newer");
    fs::remove_file(house.site.root.join("goes.txt")).unwrap();
    let out = house.site.root.join("leads-out.txt");
    fs::remove_file(&out).unwrap();
    std::os::unix::fs::symlink(house.dir.path().join("secret.txt"), &out).unwrap();
    let later = Instant::now() + FRESH;
    for (path, is_there) in [("/changes.txt", true), ("/goes.txt", false), ("/leads-out.txt", true)]
    {
        assert_eq!(matches!(house.seek(path, later), Sought::There(_)), is_there, "{path}");
    }
    let changed = house.look("/changes.txt").unwrap();
    assert_eq!(changed.kept_bytes(), Some(5));
    assert!(house.look("/leads-out.txt").is_none(), "it leads out by now");
    assert!(matches!(house.seek("/leads-out.txt", Instant::now()), Sought::Nothing));
}

#[test]
fn what_changed_a_moment_ago_or_is_large_is_not_kept() {
    let house = House::new();
    house.write("small.bin", vec![0; SMALL as usize]);
    house.write("large.bin", vec![0; SMALL as usize + 1]);
    assert!(house.look_after("/small.bin", 0).is_some() && !house.is_kept("/small.bin"));
    assert!(house.look("/small.bin").is_some() && house.is_kept("/small.bin"));
    assert!(house.look("/large.bin").is_some() && !house.is_kept("/large.bin"));
    house.write("coded.txt", "0123456789".repeat(200));
    let accepts = (ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    let (asked, candidate) = (HeaderMap::from_iter([accepts]), house.site.root.join("coded.txt"));
    let accepted = || accepted(&asked, false);
    for (seconds, is_kept) in [(0, false), (10, true)] {
        let now = SystemTime::now() + Duration::from_secs(seconds);
        let coded = house.site.look("/coded.txt", &candidate, accepted(), &asked, now);
        assert!(coded.is_some());
        let sought = house.site.seek("/coded.txt", accepted, Instant::now());
        assert_eq!(matches!(sought, Sought::Here(_)), is_kept, "{seconds}");
    }
}

#[test]
fn where_there_is_no_file_nobody_looks_again_for_a_while() {
    let house = House::new();
    fs::create_dir(house.site.root.join("docs")).unwrap();
    let now = Instant::now();
    for path in ["/api/point/1", "/docs/none", "/docs/x/y", "/"] {
        assert!(matches!(house.seek(path, now), Sought::Nothing), "{path}");
    }
    // A directory is none of a file, which shows when it is looked at.
    assert!(house.look("/docs").is_none());
    for name in ["api", "docs/x"] {
        fs::create_dir(house.site.root.join(name)).unwrap();
    }
    for name in ["api/other", "docs/none", "docs/x/z", "index.html", "docs/new"] {
        house.write(name, "there");
    }
    for (path, is_known) in [
        ("/api/other", true),
        ("/docs/none", true),
        ("/docs/x/z", true),
        ("/", true),
        ("/docs", true),
        ("/docs/new", false),
    ] {
        assert_eq!(matches!(house.seek(path, now), Sought::Nothing), is_known, "{path}");
        assert!(matches!(house.seek(path, now + 2 * FRESH), Sought::There(_)), "{path}");
    }
}
