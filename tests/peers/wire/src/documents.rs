//! The documents, and what answers are compared with.
//!
//! What must stay true: a server gives back the very bytes that it was given, so an
//! answer is compared whole and costs no more than a memcmp while the time is taken; a
//! scan is right only if it gave every document that was written, and each once.

use crate::peers::{Done, Trouble};
use proto::doc::{Doc, DocBuf};
use shared::mix;

/// Bytes of text in a document.
const TEXT: usize = 360;
/// What stands before the number in a document of JSON; PostgreSQL's jsonb writes it so.
const JSON_HEAD: &str = "{\"n\": ";

/// What a document is made of.
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    Bson,
    Json,
}

/// All documents of a run, by their numbers.
pub struct Documents {
    form: Form,
    all: Vec<Vec<u8>>,
}

impl Documents {
    /// Documents `0..count`.
    pub fn make(form: Form, count: u64) -> Done<Documents> {
        let all = (0..count).map(|n| document(form, n)).collect::<Done<_>>()?;
        Ok(Documents { form, all })
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.all.len() as u64
    }

    /// One of them.
    pub fn bytes(&self, n: u64) -> &[u8] {
        &self.all[n as usize]
    }

    /// One of JSON.
    pub fn json(&self, n: u64) -> &str {
        std::str::from_utf8(self.bytes(n)).expect("JSON is made of text")
    }

    /// Whether this is that document.
    pub fn check(&self, n: u64, answer: &[u8]) -> Done {
        if self.bytes(n) == answer {
            return Ok(());
        }
        Err(Trouble::Answer(format!(
            "document {n} came back as {} bytes, {:?}; it is {} bytes, {:?}",
            answer.len(),
            String::from_utf8_lossy(answer),
            self.bytes(n).len(),
            String::from_utf8_lossy(self.bytes(n)),
        )))
    }

    /// The number that a document says it has.
    fn number(&self, document: &[u8]) -> Option<u64> {
        match self.form {
            Form::Bson => u64::try_from(Doc::parse(document).ok()?.get("n")?.as_i64()?).ok(),
            Form::Json => {
                let rest = document.strip_prefix(JSON_HEAD.as_bytes())?;
                let digits = &rest[..rest.iter().position(|b| *b == b',')?];
                std::str::from_utf8(digits).ok()?.parse().ok()
            }
        }
    }
}

fn document(form: Form, n: u64) -> Done<Vec<u8>> {
    let mut text = String::with_capacity(TEXT + 16);
    while text.len() < TEXT {
        text.push_str(&format!("{:016x}", mix(mix(n) ^ text.len() as u64)));
    }
    text.truncate(TEXT);
    match form {
        Form::Json => Ok(format!("{JSON_HEAD}{n}, \"text\": \"{text}\"}}").into_bytes()),
        Form::Bson => {
            let mut doc = DocBuf::new();
            doc.push("n", n as i64).push("text", text.as_str());
            doc.finish().map_err(|e| Trouble::Server(e.to_string()))
        }
    }
}

/// What a scan has given so far.
pub struct Found<'d> {
    documents: &'d Documents,
    seen: Vec<bool>,
    count: u64,
}

impl<'d> Found<'d> {
    /// Nothing.
    pub fn new(documents: &'d Documents) -> Found<'d> {
        Found { documents, seen: vec![false; documents.all.len()], count: 0 }
    }

    /// Takes a document; whether it is the first time that it comes.
    pub fn take(&mut self, document: &[u8]) -> Done<bool> {
        let number = self.documents.number(document).filter(|n| *n < self.documents.count());
        let Some(n) = number else {
            let shown = String::from_utf8_lossy(document).into_owned();
            return Err(Trouble::Answer(format!("a scan gave what was never written: {shown:?}")));
        };
        self.documents.check(n, document)?;
        let seen = std::mem::replace(&mut self.seen[n as usize], true);
        self.count += u64::from(!seen);
        Ok(!seen)
    }

    /// As [`Found::take`]; none may come twice.
    pub fn take_once(&mut self, document: &[u8]) -> Done {
        if self.take(document)? {
            return Ok(());
        }
        Err(Trouble::Answer("a scan gave a document twice".to_owned()))
    }

    /// Whether these are all.
    pub fn check(&self) -> Done {
        if self.count == self.documents.count() {
            return Ok(());
        }
        let missing = self.seen.iter().position(|seen| !seen).unwrap_or_default();
        Err(Trouble::Answer(format!(
            "a scan gave {} documents of {}; number {missing} is missing",
            self.count,
            self.documents.count()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> [Documents; 2] {
        [Form::Bson, Form::Json].map(|form| Documents::make(form, 3).unwrap())
    }

    fn wrong<T>(done: Done<T>) -> bool {
        matches!(done, Err(Trouble::Answer(_)))
    }

    #[test]
    fn an_answer_is_right_only_to_the_last_byte() {
        for documents in both() {
            let mut bytes = documents.bytes(1).to_vec();
            assert!(documents.check(1, &bytes).is_ok());
            assert!(wrong(documents.check(2, &bytes)));
            assert!(wrong(documents.check(1, &[])));
            let at = bytes.len() - 10;
            bytes[at] ^= 1;
            assert!(wrong(documents.check(1, &bytes)));
        }
    }

    #[test]
    fn a_scan_is_right_with_all_documents_once() {
        for documents in both() {
            let mut found = Found::new(&documents);
            for n in [2, 0] {
                found.take_once(documents.bytes(n)).unwrap();
            }
            assert!(wrong(found.check()), "one is missing");
            assert!(!found.take(documents.bytes(2)).unwrap());
            assert!(wrong(found.check()), "one that came twice is not another");
            assert!(wrong(found.take_once(documents.bytes(2))));
            found.take_once(documents.bytes(1)).unwrap();
            assert!(found.check().is_ok());
        }
    }

    #[test]
    fn a_scan_is_wrong_with_what_was_never_written() {
        for documents in both() {
            let more = document(documents.form, 3).unwrap();
            let mut found = Found::new(&documents);
            assert!(wrong(found.take(&more)));
            assert!(wrong(found.take(b"{}")));
            let mut other = documents.bytes(0).to_vec();
            let at = other.len() - 10;
            other[at] ^= 1;
            assert!(wrong(found.take(&other)));
        }
    }
}
