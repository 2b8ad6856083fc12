//! Whether what a client asks on condition is sent (RFC 9110, 13).
//!
//! What must stay true: a tag is strong only if no write can have left the same tag on
//! other bytes. It is made of what the file system counts a file's changes by, times of
//! the inode among them, which nobody can set back; and while the last change is so young
//! that a further one might bear the same time, the tag is weak.

use hyper::header::{
    HeaderMap, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE,
};
use sha2::{Digest, Sha256};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A change so old has a time that no later one can have, whatever the file system's
/// clock ticks in.
const SETTLED: Duration = Duration::from_secs(3);

/// What a file is compared by.
#[derive(Clone, Debug)]
pub(super) struct Validators {
    /// Without quotes.
    pub(super) tag: String,
    pub(super) is_strong: bool,
    /// In whole seconds, as HTTP tells times.
    pub(super) modified: SystemTime,
}

impl Validators {
    /// Of an open file, looked at `now`.
    pub(super) fn of(file: &Metadata, now: SystemTime) -> Validators {
        let mut hash = Sha256::new();
        // Hashed: the numbers themselves are nobody's business.
        for number in [file.dev(), file.ino(), file.size()] {
            hash.update(number.to_le_bytes());
        }
        for number in [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()] {
            hash.update(number.to_le_bytes());
        }
        let tag = hash.finalize()[..10].iter().map(|byte| format!("{byte:02x}")).collect();
        let seconds = |seconds: i64| u64::try_from(seconds).unwrap_or(0);
        // A second up: parts of it are left out.
        let last = seconds(file.ctime()).max(seconds(file.mtime())).saturating_add(1);
        let age = now.duration_since(UNIX_EPOCH + Duration::from_secs(last));
        // The future is not told, nor a year that HTTP cannot write.
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let modified = UNIX_EPOCH + Duration::from_secs(seconds(file.mtime()).min(now));
        Validators { tag, is_strong: age.is_ok_and(|age| age >= SETTLED), modified }
    }

    /// As `ETag` has it.
    pub(super) fn etag(&self) -> String {
        format!("{}\"{}\"", if self.is_strong { "" } else { "W/" }, self.tag)
    }
}

/// What the conditions come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is sent.
    Send,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// Weighs the conditions of a GET or HEAD in the order RFC 9110, 13.2.2 gives.
pub(super) fn weigh(asked: &HeaderMap, file: &Validators) -> Verdict {
    let is_later = |header| date(asked, header).map(|since| file.modified > since);
    if let Some(matches) = any_matches(asked, &IF_MATCH, file, true) {
        if !matches {
            return Verdict::Failed;
        }
    } else if is_later(IF_UNMODIFIED_SINCE) == Some(true) {
        return Verdict::Failed;
    }
    let is_known = any_matches(asked, &IF_NONE_MATCH, file, false)
        .or_else(|| is_later(IF_MODIFIED_SINCE).map(|is_later| !is_later));
    if is_known == Some(true) { Verdict::NotModified } else { Verdict::Send }
}

/// Whether a range may be sent: what the client has of the file is of this file.
pub(super) fn may_continue(asked: &HeaderMap, file: &Validators) -> bool {
    let Some(validator) = asked.get(IF_RANGE) else { return true };
    let Ok(text) = validator.to_str() else { return false };
    if !file.is_strong {
        return false;
    }
    match tags(text).as_deref() {
        Some([tag]) => tag.is(file, true),
        _ => httpdate::parse_http_date(text).is_ok_and(|date| date == file.modified),
    }
}

/// None: there is no such header.
fn any_matches(
    asked: &HeaderMap,
    header: &HeaderName,
    file: &Validators,
    strongly: bool,
) -> Option<bool> {
    let mut lists = asked.get_all(header).iter().peekable();
    lists.peek()?;
    Some(lists.filter_map(|list| list.to_str().ok()).any(|list| {
        // What is no list of tags names none.
        list.trim() == "*" || tags(list).into_iter().flatten().any(|tag| tag.is(file, strongly))
    }))
}

/// A tag that a client has.
#[derive(Debug)]
struct Tag<'a> {
    opaque: &'a str,
    is_weak: bool,
}

impl Tag<'_> {
    fn is(&self, file: &Validators, strongly: bool) -> bool {
        self.opaque == file.tag && !(strongly && (self.is_weak || !file.is_strong))
    }
}

/// A list of tags; they may hold commas.
fn tags(list: &str) -> Option<Vec<Tag<'_>>> {
    let (mut rest, mut tags) = (list, Vec::new());
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Some(tags);
        }
        let is_weak = rest.starts_with("W/");
        let quoted = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?;
        let (opaque, behind) = quoted.split_once('"')?;
        if !behind.is_empty() && !behind.starts_with([' ', '\t', ',']) {
            return None;
        }
        tags.push(Tag { opaque, is_weak });
        rest = behind;
    }
}

fn date(asked: &HeaderMap, header: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(asked.get(header)?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
    const EARLIER: &str = "Tue, 14 Nov 2023 22:13:19 GMT";

    fn file(is_strong: bool) -> Validators {
        let modified = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        Validators { tag: "a-1".into(), is_strong, modified }
    }

    fn asked(headers: &[(HeaderName, &str)]) -> HeaderMap {
        let one = |(name, value): &(HeaderName, &str)| (name.clone(), value.parse().unwrap());
        headers.iter().map(one).collect()
    }

    #[test]
    fn conditions_are_weighed_in_their_order() {
        use Verdict::{Failed, NotModified, Send};
        for (headers, expected) in [
            (&[][..], Send),
            (&[(IF_NONE_MATCH, "\"a-1\"")], NotModified),
            (&[(IF_NONE_MATCH, "W/\"a-1\"")], NotModified),
            (&[(IF_NONE_MATCH, "\"b\", W/\"a-1\"")], NotModified),
            (&[(IF_NONE_MATCH, "*")], NotModified),
            (&[(IF_NONE_MATCH, "\"b,\"")], Send),
            (&[(IF_NONE_MATCH, "\",\"a-1\",\"")], Send),
            (&[(IF_NONE_MATCH, "a-1")], Send),
            (&[(IF_NONE_MATCH, "\"b\""), (IF_MODIFIED_SINCE, DATE)], Send),
            (&[(IF_MODIFIED_SINCE, DATE)], NotModified),
            (&[(IF_MODIFIED_SINCE, EARLIER)], Send),
            (&[(IF_MODIFIED_SINCE, "yesterday")], Send),
            (&[(IF_MATCH, "\"a-1\"")], Send),
            (&[(IF_MATCH, "*")], Send),
            (&[(IF_MATCH, "W/\"a-1\"")], Failed),
            (&[(IF_MATCH, "\"b\", \"c\"")], Failed),
            (&[(IF_MATCH, "\"a-1\""), (IF_UNMODIFIED_SINCE, EARLIER)], Send),
            (&[(IF_MATCH, "\"a-1\""), (IF_NONE_MATCH, "\"a-1\"")], NotModified),
            (&[(IF_MATCH, "\"b\""), (IF_NONE_MATCH, "\"a-1\"")], Failed),
            (&[(IF_UNMODIFIED_SINCE, EARLIER)], Failed),
            (&[(IF_UNMODIFIED_SINCE, DATE)], Send),
            (&[(IF_UNMODIFIED_SINCE, "yesterday")], Send),
        ] {
            assert_eq!(weigh(&asked(headers), &file(true)), expected, "{headers:?}");
        }
        let weak = |header| weigh(&asked(&[(header, "\"a-1\"")]), &file(false));
        assert_eq!((weak(IF_MATCH), weak(IF_NONE_MATCH)), (Failed, NotModified));
    }

    #[test]
    fn a_range_goes_on_only_with_the_same_bytes() {
        for (validator, expected) in [
            ("\"a-1\"", true),
            ("W/\"a-1\"", false),
            ("\"b\"", false),
            ("\"a-1\", \"b\"", false),
            (DATE, true),
            (EARLIER, false),
            ("yesterday", false),
        ] {
            let headers = asked(&[(IF_RANGE, validator)]);
            assert_eq!(may_continue(&headers, &file(true)), expected, "{validator}");
            assert!(!may_continue(&headers, &file(false)), "{validator}");
        }
        assert!(may_continue(&HeaderMap::new(), &file(false)));
    }

    #[test]
    fn a_tag_is_strong_once_the_last_change_is_old_enough_and_another_after_each() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "one").unwrap();
        let about = std::fs::metadata(&path).unwrap();
        let changed = UNIX_EPOCH + Duration::from_secs(u64::try_from(about.ctime()).unwrap());
        let at = |seconds| Validators::of(&about, changed + Duration::from_secs(seconds));
        assert!(!at(0).is_strong && !at(3).is_strong && at(4).is_strong);
        assert!(at(0).etag().starts_with("W/\"") && at(4).etag().starts_with('"'));
        assert_eq!(at(0).tag, at(4).tag);
        // Same length, and the time of its bytes set back to what it was.
        std::thread::sleep(Duration::from_millis(20));
        std::fs::write(&path, "two").unwrap();
        let file = std::fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(about.modified().unwrap()).unwrap();
        let after = std::fs::metadata(&path).unwrap();
        assert_eq!(after.modified().unwrap(), about.modified().unwrap());
        assert_ne!(Validators::of(&after, changed).tag, at(0).tag);
        // The future is not told.
        assert_eq!(Validators::of(&about, UNIX_EPOCH).modified, UNIX_EPOCH);
    }
}
