//! Files below `static_dir`, served under their own paths.
//!
//! What must stay true: nothing outside the directory is ever opened, by dots,
//! by encoded separators or by a link that leads out; nor are files whose path
//! has a part that begins with a dot (`.git`, `.env`), but for `.well-known`. A
//! path that is no file here is no error: the guest answers it.

use super::body::ResponseBody;
use hyper::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

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

/// A file to serve.
#[derive(Debug)]
pub(super) struct Found {
    path: PathBuf,
    length: u64,
    modified: Option<SystemTime>,
    content_type: &'static str,
}

/// Follows links and makes sure that the end is a file inside `root` (which is
/// canonical). Blocks.
fn find(root: &Path, candidate: &Path) -> Option<Found> {
    let path = fs::canonicalize(candidate).ok()?;
    if !path.starts_with(root) {
        tracing::warn!(file = %candidate.display(), "not served: the link leads out of static_dir");
        return None;
    }
    // Not opened before it is known to be a file: opening a pipe would wait for ever.
    let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
    let content_type = content_type(candidate);
    Some(Found { path, length: metadata.len(), modified: metadata.modified().ok(), content_type })
}

/// Answers a GET or HEAD for `candidate`; `None` if it is no file to serve. Blocks.
pub(super) fn respond(
    root: &Path,
    candidate: &Path,
    asked: &HeaderMap,
    head: bool,
) -> Option<Response<ResponseBody>> {
    let found = find(root, candidate)?;
    let etag = etag(&found);
    let fresh = unchanged(asked, &etag, found.modified);
    let body = if head || fresh {
        ResponseBody::empty()
    } else {
        ResponseBody::file(File::open(&found.path).ok()?, found.length)
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let value = |text: String| HeaderValue::try_from(text).expect("it is plain ASCII");
    headers.insert(ETAG, value(etag));
    if let Some(modified) = found.modified {
        headers.insert(LAST_MODIFIED, value(httpdate::fmt_http_date(modified)));
    }
    // Browsers keep it and ask whether it still holds: a new file shows at once.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if fresh {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Some(response);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(found.content_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(found.length));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Some(response)
}

/// Weak, for it is made of length and time, not of the bytes.
fn etag(found: &Found) -> String {
    let modified = found.modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    format!("W/\"{:x}-{:x}\"", found.length, modified.unwrap_or_default().as_nanos())
}

fn unchanged(asked: &HeaderMap, etag: &str, modified: Option<SystemTime>) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let mut tags = asked.get_all(IF_NONE_MATCH).iter().peekable();
    if tags.peek().is_some() {
        return tags
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.split(','))
            .any(|tag| tag.trim() == "*" || opaque(tag) == opaque(etag));
    }
    let since = asked.get(IF_MODIFIED_SINCE).and_then(|value| value.to_str().ok());
    let since = since.and_then(|text| httpdate::parse_http_date(text).ok());
    let (Some(since), Some(modified)) = (since, modified) else { return false };
    // A date of HTTP has whole seconds.
    modified.duration_since(since).map_or(true, |later| later.as_secs() == 0)
}

fn content_type(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" | "md" => "text/plain; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "xml" => "application/xml",
        "pdf" => "application/pdf",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "otf" => "font/otf",
        "mp3" => "audio/mpeg",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

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

    #[test]
    fn an_if_none_match_is_weighed_before_a_date() {
        let modified = UNIX_EPOCH + Duration::from_millis(1_700_000_000_900);
        let (tag, date) = ("W/\"5-1\"", "Tue, 14 Nov 2023 22:13:20 GMT");
        let earlier = "Tue, 14 Nov 2023 22:13:19 GMT";
        for (tags, since, unchanged_) in [
            (None, None, false),
            (Some("W/\"5-1\""), None, true),
            (Some("\"a\", \"5-1\""), None, true),
            (Some("*"), None, true),
            (Some("\"5-2\""), Some(date), false),
            (None, Some(date), true),
            (None, Some(earlier), false),
            (None, Some("yesterday"), false),
        ] {
            let mut asked = HeaderMap::new();
            if let Some(tags) = tags {
                asked.insert(IF_NONE_MATCH, tags.parse().unwrap());
            }
            if let Some(since) = since {
                asked.insert(IF_MODIFIED_SINCE, since.parse().unwrap());
            }
            assert_eq!(unchanged(&asked, tag, Some(modified)), unchanged_, "{tags:?} {since:?}");
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
