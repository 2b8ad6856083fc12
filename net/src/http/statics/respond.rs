//! What is answered to a GET or HEAD for a file: which representation, whether at all,
//! and how much of it.
//!
//! What must stay true: HEAD tells what GET would. Each coding of a file has a tag of its
//! own. Ranges are of the file as it lies there, whatever coding was asked for: bytes of
//! something that is coded anew tomorrow cannot be continued.

use super::conditions::{Validators, Verdict, may_continue, weigh};
use super::kept::SMALL;
use super::ranges::{Plan, Span, plan};
use super::types::content_type;
use super::{Found, Site, find};
use crate::http::body::{Part, ResponseBody};
use crate::http::encoding::{self, Accepted, Coding, Effort, Key};
use bytes::Bytes;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use std::fs::Metadata;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// What lies between the parts of a response: nobody can foretell it.
type Boundary<'a> = &'a dyn Fn() -> HeaderValue;

/// One way to send a file.
#[derive(Debug)]
pub(crate) struct Representation {
    content_type: &'static str,
    coding: Option<Coding>,
    validators: Validators,
    content: Content,
    /// As headers have the validators.
    etag: HeaderValue,
    modified: HeaderValue,
}

#[derive(Debug)]
enum Content {
    /// As it lies there, precompressed or not.
    Lying(Found),
    /// To be coded if it is to be sent.
    ToCode(Found, Coding),
    /// In memory: coded, or small.
    Here(Bytes),
}

/// The codings that count for this request: a range is of the file as it lies there, and
/// has no meaning for HEAD (RFC 9110, 14.2).
pub(crate) fn accepted(asked: &HeaderMap, head: bool) -> Accepted {
    let is_range = !head && asked.contains_key(RANGE);
    if is_range { Accepted::NOTHING } else { Accepted::of(asked) }
}

/// How `candidate` is sent to who takes these codings; `None` if it is no file to serve.
/// Blocks.
pub(super) fn look(
    site: &Site,
    candidate: &Path,
    accepted: Accepted,
    asked: &HeaderMap,
    now: SystemTime,
) -> Option<Representation> {
    let found = find(&site.root, candidate)?;
    let chosen = choose(site, candidate, found, content_type(candidate), accepted, now);
    Some(match weigh(asked, &chosen.validators) {
        Verdict::Send => chosen.coded(site, now).read(),
        Verdict::NotModified | Verdict::Failed => chosen,
    })
}

/// Answers a GET or HEAD.
pub(crate) fn respond(
    chosen: &Representation,
    asked: &HeaderMap,
    head: bool,
    boundary: Boundary<'_>,
) -> Response<ResponseBody> {
    let range = asked.get(RANGE).filter(|_| !head);
    let mut response = match weigh(asked, &chosen.validators) {
        Verdict::NotModified => empty(StatusCode::NOT_MODIFIED),
        Verdict::Failed => bare(StatusCode::PRECONDITION_FAILED),
        Verdict::Send => match range.and_then(|range| range.to_str().ok()) {
            Some(range) if may_continue(asked, &chosen.validators) => {
                partly(chosen, range, boundary)
            }
            _ => whole(chosen),
        },
    };
    describe(response.headers_mut(), chosen);
    let is_sent = !head && response.status().is_success();
    response.map(|parts| match &chosen.content {
        Content::Lying(found) if is_sent => ResponseBody::parts(Arc::clone(&found.file), parts),
        Content::Here(bytes) if is_sent => ResponseBody::whole(cut(bytes, parts)),
        _ => ResponseBody::empty(),
    })
}

/// Parts of a file that is in memory.
fn cut(bytes: &Bytes, mut parts: Vec<Part>) -> Bytes {
    // There is a file of that length in memory: its places are numbers of memory.
    let cut = |part: Part| match part {
        Part::Words(words) => words,
        Part::OfFile { from, length } => bytes.slice(from as usize..(from + length) as usize),
    };
    match parts.len() {
        1 => cut(parts.remove(0)),
        _ => parts.into_iter().map(cut).collect::<Vec<_>>().concat().into(),
    }
}

/// The best that the client takes: what lies there precompressed, else what is coded
/// here, else the file itself.
fn choose(
    site: &Site,
    candidate: &Path,
    found: Found,
    content_type: &'static str,
    accepted: Accepted,
    now: SystemTime,
) -> Representation {
    for coding in accepted.iter() {
        if let Some(coded) = precompressed(site, candidate, &found.about, coding) {
            let validators = validators(&coded, Some(coding), now);
            return Representation::new(
                content_type,
                Some(coding),
                validators,
                Content::Lying(coded),
            );
        }
    }
    let is_worth_it = site.is_coding
        && encoding::is_compressible(content_type)
        && encoding::is_of_size(found.about.len());
    let coding = accepted.made_here().filter(|_| is_worth_it);
    let validators = validators(&found, coding, now);
    let content = match coding {
        Some(coding) => Content::ToCode(found, coding),
        None => Content::Lying(found),
    };
    Representation::new(content_type, coding, validators, content)
}

fn validators(found: &Found, coding: Option<Coding>, now: SystemTime) -> Validators {
    let mut validators = Validators::of(&found.about, now);
    if let Some(coding) = coding {
        validators.tag = format!("{}-{}", validators.tag, coding.extension());
    }
    validators
}

impl Representation {
    fn new(
        content_type: &'static str,
        coding: Option<Coding>,
        validators: Validators,
        content: Content,
    ) -> Representation {
        let etag = text(validators.etag());
        let modified = text(httpdate::fmt_http_date(validators.modified));
        Representation { content_type, coding, validators, content, etag, modified }
    }

    /// With its content coded, if it was to be; or of the file as it lies there, if that
    /// gains nothing.
    fn coded(self, site: &Site, now: SystemTime) -> Representation {
        let Content::ToCode(found, coding) = self.content else { return self };
        match coded(site, &found, coding, &self.validators.tag) {
            Some(bytes) => Representation { content: Content::Here(bytes), ..self },
            None => {
                let validators = validators(&found, None, now);
                Representation::new(self.content_type, None, validators, Content::Lying(found))
            }
        }
    }

    /// With its content in memory, if that is small.
    fn read(self) -> Representation {
        let small = match &self.content {
            Content::Lying(found) if found.about.len() <= SMALL => whole_of(found),
            _ => None,
        };
        match small {
            Some(bytes) => Representation { content: Content::Here(bytes), ..self },
            None => self,
        }
    }

    /// How many bytes it has in memory, if it may be kept there: under a weak tag the file
    /// may get other bytes.
    pub(super) fn kept_bytes(&self) -> Option<usize> {
        match &self.content {
            Content::Here(bytes) if self.validators.is_strong && bytes.len() as u64 <= SMALL => {
                Some(bytes.len())
            }
            _ => None,
        }
    }

    /// The same with its bytes left on the disk, as of a file that is large.
    #[cfg(test)]
    pub(super) fn unread(site: &Site, candidate: &Path, now: SystemTime) -> Representation {
        let found = find(&site.root, candidate).expect("there is such a file");
        choose(site, candidate, found, content_type(candidate), Accepted::NOTHING, now)
    }

    /// A file of these bytes, for tests of what keeps it.
    #[cfg(test)]
    pub(super) fn of_bytes(bytes: Bytes) -> Representation {
        let modified = SystemTime::UNIX_EPOCH;
        let validators = Validators { tag: "t".to_owned(), is_strong: true, modified };
        Representation::new("text/plain", None, validators, Content::Here(bytes))
    }
}

/// The bytes of a file, if they are those that its tag is of.
fn whole_of(found: &Found) -> Option<Bytes> {
    let mut bytes = vec![0; usize::try_from(found.about.len()).ok()?];
    found.file.read_exact_at(&mut bytes, 0).ok()?;
    // If it changed meanwhile, it goes as it is.
    let after = found.file.metadata().ok()?;
    let same = |one: &Metadata| Validators::of(one, SystemTime::UNIX_EPOCH).tag;
    (same(&after) == same(&found.about)).then(|| Bytes::from(bytes))
}

/// The file beside it, `app.js.br`, unless it is older: then it is of another `app.js`.
fn precompressed(site: &Site, candidate: &Path, of: &Metadata, coding: Coding) -> Option<Found> {
    let mut name = candidate.as_os_str().to_owned();
    name.push(".");
    name.push(coding.extension());
    let beside = PathBuf::from(name);
    std::fs::symlink_metadata(&beside).ok()?;
    let found = find(&site.root, &beside)?;
    let (coded, plain) = (found.about.modified().ok()?, of.modified().ok()?);
    (coded >= plain).then_some(found)
}

/// The file coded here, once for all who ask; `None` if that gains nothing, or if all
/// whose work it is are busy.
fn coded(site: &Site, found: &Found, coding: Coding, tag: &str) -> Option<Bytes> {
    let key = Key { path: found.path.clone(), tag: tag.to_owned(), coding };
    if let Some(kept) = site.cache.get(&key) {
        return kept;
    }
    let _turn = site.turns.take()?;
    let bytes = whole_of(found)?;
    let coded = encoding::compress(coding, Effort::Kept, &bytes);
    let coded = coded.inspect_err(|error| tracing::warn!(%error, "a file cannot be compressed"));
    let coded = coded.ok()?;
    site.cache.put(key, coded.clone());
    coded
}

impl Content {
    fn length(&self) -> u64 {
        match self {
            Content::Lying(found) | Content::ToCode(found, _) => found.about.len(),
            Content::Here(bytes) => bytes.len() as u64,
        }
    }
}

fn empty(status: StatusCode) -> Response<Vec<Part>> {
    let mut response = Response::new(Vec::new());
    *response.status_mut() = status;
    response
}

/// With no body, and that said.
fn bare(status: StatusCode) -> Response<Vec<Part>> {
    let mut response = empty(status);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(0));
    response
}

fn text(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("it is plain ASCII")
}

fn whole(chosen: &Representation) -> Response<Vec<Part>> {
    let length = chosen.content.length();
    let mut response = Response::new(vec![Part::OfFile { from: 0, length }]);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(chosen.content_type));
    response
}

fn partly(chosen: &Representation, range: &str, boundary: Boundary<'_>) -> Response<Vec<Part>> {
    let length = chosen.content.length();
    let told =
        |span: &Span| format!("bytes {}-{}/{length}", span.from, span.from + span.length - 1);
    let spans = match plan(range, length) {
        Plan::Whole => return whole(chosen),
        Plan::Refused => {
            let mut response = bare(StatusCode::RANGE_NOT_SATISFIABLE);
            response.headers_mut().insert(CONTENT_RANGE, text(format!("bytes */{length}")));
            return response;
        }
        Plan::Spans(spans) => spans,
    };
    let mut response = empty(StatusCode::PARTIAL_CONTENT);
    let of_file = |span: &Span| Part::OfFile { from: span.from, length: span.length };
    if let [span] = spans.as_slice() {
        let headers = response.headers_mut();
        headers.insert(CONTENT_RANGE, text(told(span)));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(span.length));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(chosen.content_type));
        response.body_mut().push(of_file(span));
        return response;
    }
    let boundary = boundary();
    let boundary = boundary.to_str().expect("an id is plain ASCII");
    let (mut parts, mut bytes) = (Vec::with_capacity(2 * spans.len() + 1), 0);
    for (at, span) in spans.iter().enumerate() {
        let end = if at == 0 { "" } else { "\r\n" };
        let words = format!(
            "{end}--{boundary}\r\ncontent-type: {}\r\ncontent-range: {}\r\n\r\n",
            chosen.content_type,
            told(span)
        );
        bytes += words.len() as u64 + span.length;
        parts.extend([Part::Words(words.into()), of_file(span)]);
    }
    let words = format!("\r\n--{boundary}--\r\n");
    bytes += words.len() as u64;
    parts.push(Part::Words(words.into()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    headers.insert(CONTENT_TYPE, text(format!("multipart/byteranges; boundary={boundary}")));
    *response.body_mut() = parts;
    response
}

/// What is said of a representation however much of it is sent.
fn describe(headers: &mut HeaderMap, chosen: &Representation) {
    let mut say = |name: HeaderName, value: HeaderValue| drop(headers.insert(name, value));
    say(ETAG, chosen.etag.clone());
    say(LAST_MODIFIED, chosen.modified.clone());
    // Browsers keep it and ask whether it still holds: a new file shows soon.
    say(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    say(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    say(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(coding) = chosen.coding {
        say(CONTENT_ENCODING, HeaderValue::from_static(coding.token()));
    }
    encoding::vary(headers);
}
