//! The gate: everything that can be wrong with the bytes of a document.

use super::names::Names;
use super::read::{body_len, cstring};
use super::value::tag;
use super::{DocError, MAX_DEPTH};

/// Checks a whole document; `bytes` is exactly it.
pub(super) fn document(bytes: &[u8]) -> Result<(), DocError> {
    nested(bytes, 0, 1, false)
}

fn malformed<T>(offset: usize, what: &'static str) -> Result<T, DocError> {
    Err(DocError::Malformed { offset, what })
}

/// Checks the document `bytes`, which starts at `base` of the outermost one and is
/// the `depth`-th around itself. Recursion ends at [`MAX_DEPTH`].
fn nested(bytes: &[u8], base: usize, depth: usize, array: bool) -> Result<(), DocError> {
    if depth > MAX_DEPTH {
        return Err(DocError::TooDeep { offset: base });
    }
    let Some(&length) = bytes.first_chunk::<4>() else {
        return malformed(base, "it ends within its length field");
    };
    let length = i32::from_le_bytes(length);
    if usize::try_from(length) != Ok(bytes.len()) {
        return malformed(base, "its length field does not say how long it is");
    }
    if bytes.len() < 5 || bytes[bytes.len() - 1] != 0 {
        return malformed(base, "it does not end with a zero byte");
    }
    let end = bytes.len() - 1;
    let mut names = Names::new();
    let mut items = ItemName::new();
    let mut at = 4;
    while at < end {
        let start = base + at;
        let kind = bytes[at];
        if kind == 0 {
            return malformed(start, "there are bytes after its last element");
        }
        at += 1;
        let Some(len) = cstring(&bytes[at..end]) else {
            return malformed(start, "a field name has no end");
        };
        let name = &bytes[at..at + len];
        if std::str::from_utf8(name).is_err() {
            return malformed(start, "a field name is not UTF-8");
        }
        if array {
            if name != items.next() {
                return malformed(start, "the items of an array are not named 0, 1, 2 and on");
            }
        } else if !names.add(name) {
            let field = String::from_utf8_lossy(name).into_owned();
            return Err(DocError::Duplicate { offset: base, field });
        }
        at += len + 1;
        if let Some(refused) = refused(kind, &bytes[at..end]) {
            let field = String::from_utf8_lossy(name).into_owned();
            return Err(DocError::Refused { offset: start, field, kind: refused });
        }
        let from_body = &bytes[at..end];
        let Some(len) = body_len(kind, from_body) else {
            return malformed(start, "an element's type or length is not one of BSON");
        };
        let Some(body) = from_body.get(..len) else {
            return malformed(start, "an element is longer than what holds it");
        };
        match kind {
            tag::DOC => nested(body, base + at, depth + 1, false)?,
            tag::ARRAY => nested(body, base + at, depth + 1, true)?,
            tag::STRING => {
                let (text, nul) = body[4..].split_at(len - 5);
                if nul != [0] {
                    return malformed(start, "a string does not end with a zero byte");
                }
                if std::str::from_utf8(text).is_err() {
                    return malformed(start, "a string is not UTF-8");
                }
            }
            tag::REGEX if std::str::from_utf8(body).is_err() => {
                return malformed(start, "a regular expression is not UTF-8");
            }
            tag::BOOL if body[0] > 1 => return malformed(start, "a bool is neither 0 nor 1"),
            _ => {}
        }
        at += len;
    }
    Ok(())
}

/// The names of BSON types that are known and not stored.
fn refused(kind: u8, body: &[u8]) -> Option<&'static str> {
    match kind {
        0x06 => Some("undefined (deprecated)"),
        0x0C => Some("DBPointer (deprecated)"),
        0x0D => Some("JavaScript code"),
        0x0E => Some("symbol (deprecated)"),
        0x0F => Some("JavaScript code with scope (deprecated)"),
        tag::BINARY if body.get(4) == Some(&2) => Some("binary subtype 2 (deprecated)"),
        _ => None,
    }
}

/// Counts 0, 1, 2 in decimal text without formatting each.
pub(super) struct ItemName {
    digits: [u8; 20],
    start: usize,
}

impl ItemName {
    pub(super) fn new() -> ItemName {
        // The digit before '0', so that the first step makes it "0".
        let mut digits = [b'0'; 20];
        digits[19] = b'0' - 1;
        ItemName { digits, start: 19 }
    }

    /// The next item's name.
    pub(super) fn next(&mut self) -> &[u8] {
        let mut at = 19;
        while self.digits[at] == b'9' {
            self.digits[at] = b'0';
            at -= 1;
        }
        self.digits[at] += 1;
        self.start = self.start.min(at);
        &self.digits[self.start..]
    }
}
