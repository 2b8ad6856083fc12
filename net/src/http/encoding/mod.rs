//! Content codings: what a client takes, what is worth coding, and the coding of it.
//!
//! What must stay true: nothing is coded that the client did not ask for, that is coded
//! already, or that does not get smaller by it. Coding is work for few threads at once
//! and is never waited for: if all are busy, the bytes go as they are.

mod cache;

pub(super) use cache::{Cache, Key};

use bytes::Bytes;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use hyper::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use std::io::{self, Write};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Below, a coding gains less than it costs; beyond, it takes too long and too much
/// memory to be done while somebody waits.
const SIZES: std::ops::RangeInclusive<u64> = 1024..=8 << 20;
/// What brotli looks back to: 1 MiB. More costs memory for each coding at work.
const WINDOW_BITS: i32 = 20;

/// `http.compression`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Static files, and whole bodies of guests.
    All,
    /// Static files only.
    Static,
    /// Nothing; precompressed files are served all the same.
    Off,
}

/// A coding that can be served. The order is that of our preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Coding {
    Brotli,
    Zstandard,
    Gzip,
}

impl Coding {
    const ALL: [Coding; 3] = [Coding::Brotli, Coding::Zstandard, Coding::Gzip];

    /// As headers have it.
    pub(super) fn token(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Zstandard => "zstd",
            Coding::Gzip => "gzip",
        }
    }

    /// What the name of a precompressed file ends with.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Zstandard => "zst",
            Coding::Gzip => "gz",
        }
    }

    fn of(token: &str) -> Option<Coding> {
        let named = |coding: &Coding| token.eq_ignore_ascii_case(coding.token());
        let gzip = || token.eq_ignore_ascii_case("x-gzip").then_some(Coding::Gzip);
        Coding::ALL.into_iter().find(named).or_else(gzip)
    }

    /// Whether it can be done here. Zstandard would need a library in C.
    fn is_made_here(self) -> bool {
        self != Coding::Zstandard
    }
}

/// The codings a client takes, the best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Accepted([Option<Coding>; 3]);

impl Accepted {
    /// No coding.
    pub(super) const NOTHING: Accepted = Accepted([None; 3]);

    /// Of `Accept-Encoding` (RFC 9110, 12.5.3). What cannot be read asks for nothing.
    pub(super) fn of(headers: &HeaderMap) -> Accepted {
        // In thousandths; None: not spoken of.
        let mut weights = [None; 3];
        let (mut identity, mut any) = (None, None);
        let lists = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|list| list.to_str().ok());
        for element in lists.flat_map(|list| list.split(',')) {
            let (token, rest) = element.split_once(';').unwrap_or((element, ""));
            let Some(weight) = weight(rest.trim()) else { continue };
            let token = token.trim();
            if token == "*" {
                any = Some(weight);
            } else if token.eq_ignore_ascii_case("identity") {
                identity = Some(weight);
            } else if let Some(coding) = Coding::of(token) {
                weights[coding as usize] = Some(weight);
            }
        }
        let least = identity.unwrap_or(0).max(1);
        let mut order = Coding::ALL.map(|coding| {
            let weight = weights[coding as usize].or(any).unwrap_or(0);
            (weight >= least).then_some((u16::MAX - weight, coding))
        });
        order.sort_by_key(|entry| (entry.is_none(), *entry));
        Accepted(order.map(|entry| entry.map(|(_, coding)| coding)))
    }

    /// The best first.
    pub(super) fn iter(self) -> impl Iterator<Item = Coding> {
        self.0.into_iter().flatten()
    }

    /// The best of those that can be done here.
    pub(super) fn made_here(self) -> Option<Coding> {
        self.iter().find(|coding| coding.is_made_here())
    }
}

/// `q=0.5` in thousandths; none is 1.
fn weight(parameter: &str) -> Option<u16> {
    if parameter.is_empty() {
        return Some(1000);
    }
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let (whole, part) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    if part.len() > 3 || !part.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{part:0<3}").parse::<u16>().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

/// Whether bytes of this type get smaller: text does, pictures and archives are small.
pub(super) fn is_compressible(content_type: &str) -> bool {
    let (essence, _) = content_type.split_once(';').unwrap_or((content_type, ""));
    let essence = essence.trim().to_ascii_lowercase();
    match essence.split_once('/') {
        // A stream of events is read as it comes.
        Some(("text", sub)) => sub != "event-stream",
        Some((_, sub)) => {
            sub.ends_with("+json")
                || sub.ends_with("+xml")
                || matches!(
                    essence.as_str(),
                    "application/json"
                        | "application/javascript"
                        | "application/xml"
                        | "application/wasm"
                        | "application/x-ndjson"
                        | "font/ttf"
                        | "font/otf"
                        | "image/x-icon"
                        | "image/bmp"
                )
        }
        None => false,
    }
}

/// Whether as many bytes are coded at all.
pub(super) fn is_of_size(bytes: u64) -> bool {
    SIZES.contains(&bytes)
}

/// How hard it is tried.
#[derive(Clone, Copy, Debug)]
pub(super) enum Effort {
    /// For one response.
    Once,
    /// For what is kept.
    Kept,
}

/// `bytes` coded, if that makes them smaller by a sixteenth at least. Blocks.
pub(super) fn compress(coding: Coding, effort: Effort, bytes: &[u8]) -> io::Result<Option<Bytes>> {
    let mut out = Vec::with_capacity(bytes.len() / 4);
    match (coding, effort) {
        (Coding::Brotli, effort) => {
            let params = brotli::enc::BrotliEncoderParams {
                quality: if matches!(effort, Effort::Kept) { 8 } else { 4 },
                lgwin: WINDOW_BITS,
                size_hint: bytes.len(),
                ..Default::default()
            };
            brotli::BrotliCompress(&mut &bytes[..], &mut out, &params)?;
        }
        (Coding::Gzip, effort) => {
            let level = if matches!(effort, Effort::Kept) { 8 } else { 4 };
            let mut encoder = GzEncoder::new(out, Level::new(level));
            encoder.write_all(bytes)?;
            out = encoder.finish()?;
        }
        (Coding::Zstandard, _) => return Ok(None),
    }
    Ok((out.len() < bytes.len() - bytes.len() / 16).then(|| Bytes::from(out)))
}

/// The turns of those that code: half of the machine's threads.
#[derive(Clone, Debug)]
pub(super) struct Turns(Arc<Semaphore>);

impl Turns {
    pub(super) fn new() -> Turns {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Turns(Arc::new(Semaphore::new(threads.div_ceil(2))))
    }

    /// One, if there is one now.
    pub(super) fn take(&self) -> Option<OwnedSemaphorePermit> {
        self.0.clone().try_acquire_owned().ok()
    }
}

/// Says in `vary` that the response depends on `Accept-Encoding`.
pub(super) fn vary(headers: &mut HeaderMap) {
    use hyper::header::VARY;
    let says = |value: &HeaderValue| {
        let mut names = value.to_str().unwrap_or_default().split(',').map(str::trim);
        names.any(|name| name == "*" || name.eq_ignore_ascii_case("accept-encoding"))
    };
    if !headers.get_all(VARY).iter().any(says) {
        headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

#[cfg(test)]
mod tests;
