//! Frames that were whole once, and what is done to them.
//!
//! What must stay true: a frame from [`Frames::bent`] still begins with a header that
//! says how long it is, so the server owes it exactly one reply; one from
//! [`Frames::broken`] need not, so nothing can be said of what follows it.

use proto::packet::HEADER_BYTES;
use proto::request::{Act, BatchBuf, Condition, Step, StepsBuf};
use proto::{Header, Key, Opcode, Request};

use crate::peer::encoded;
use crate::victim::{FIELD, document};

/// Numbers out of a seed (splitmix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }
}

/// Whole frames, of nearly every operation.
pub struct Frames {
    whole: Vec<Vec<u8>>,
    dice: Dice,
}

/// Queries that use much of the grammar.
const QUERIES: &[&str] = &[
    "field.filter(n = 7 and (text startsWith 'abc' or not exists(gone))).limit(3)",
    "field.filter(n in [1, 2, 3] and n between 1 and 9).orderBy(n desc).pluck(n)",
    "field.groupBy(n).aggregate(c: count(), s: sum(n)).limit(5)",
    "field.filter(text ~ '^a.c').count()",
    "field.filter(n = $1).set({n: 8})",
    "field.insert({a: [1, 2, {b: null}], d: 1.5})",
    "field.filter(n > 100000).delete()",
    "field.distinct(n)",
    "field.filter(n = 7).explain()",
];

impl Frames {
    pub fn new(seed: u64) -> Result<Frames, String> {
        let doc = document(64)?;
        let mut batch = BatchBuf::new();
        batch.push(Some(Key(1 << 40)), &doc);
        batch.push(None, &doc);
        let (store, key, cursor) = (FIELD, Key(3), 1);
        let (mut steps, absent) = (StepsBuf::new(), Some(Condition::Absent));
        steps.push(Step { store, act: Act::Put(Key(1 << 43), &doc), condition: None });
        steps.push(Step { store, act: Act::Check(Key(1 << 44)), condition: absent });
        let mut whole: Vec<Vec<u8>> = [
            Request::Ping,
            Request::Stats,
            Request::List,
            Request::ListSequences,
            Request::RunningQueries,
            Request::Insert { store, key: None, document: &doc },
            Request::Insert { store, key: Some(Key(1 << 41)), document: &doc },
            Request::BatchInsert { store, batch: batch.as_batch() },
            Request::Read { store, key },
            Request::ReadVersion { store, key },
            Request::Apply { steps: steps.as_steps() },
            Request::Update { store, key: Key(1 << 42), document: &doc, upsert: true },
            Request::Delete { store, key: Key(1 << 41) },
            Request::Scan { store, after: Some(Key(1 << 30)), limit: 2, reverse: false },
            Request::Range { store, from: Key(1 << 30), to: Key(1 << 50), limit: 2, reverse: true },
            Request::Fetch { cursor },
            Request::CloseCursor { cursor },
            Request::CancelQuery { query: 1 },
            Request::CreateStore { store: "other", if_not_exists: true },
            Request::DropStore { store: "other", if_exists: true },
            Request::CreateIndex { store, if_not_exists: true, definition: &doc },
            Request::DropIndex { store, index: "other", if_exists: true },
            Request::AlterStore { store, change: &doc },
            Request::CheckIndexes { store, index: None },
            Request::CreateSequence { sequence: "numbers", if_not_exists: true },
            Request::NextNumbers { sequence: "numbers", count: 3 },
            Request::DescribeStore { store },
            Request::FormatQuery { text: QUERIES[0] },
            Request::Flush,
            Request::Backup { begin: false, full: false },
            Request::ReloadModule,
        ]
        .iter()
        .map(|request| encoded(0, request))
        .collect();
        for text in QUERIES {
            let parameters = Some(&doc[..]);
            whole.push(encoded(0, &Request::Query { text, parameters: None }));
            whole.push(encoded(0, &Request::Query { text, parameters }));
            whole
                .push(encoded(0, &Request::Stream { rows: 2, bytes: 500, text, parameters: None }));
        }
        Ok(Frames { whole, dice: Dice::new(seed) })
    }

    /// A frame whose header tells the truth of its length, numbered `id`.
    pub fn bent(&mut self, id: u64) -> Vec<u8> {
        let (mut code, mut body) = self.parts();
        for _ in 0..=self.dice.below(4) {
            self.bend(&mut body);
        }
        if self.dice.below(8) == 0 {
            code = self.dice.below(Opcode::ALL.len() + 8) as u16;
        }
        let header = Header { code, id, body: body.len() as u32, ..self.a_header() };
        [&header.to_bytes()[..], &body].concat()
    }

    /// A frame of which anything may be wrong.
    pub fn broken(&mut self, id: u64) -> Vec<u8> {
        let mut frame = self.bent(id);
        for _ in 0..=self.dice.below(3) {
            let at = self.dice.below(HEADER_BYTES);
            frame[at] ^= 1 << self.dice.below(8);
        }
        if self.dice.below(4) == 0 {
            frame.truncate(self.dice.below(frame.len()));
        }
        frame
    }

    fn a_header(&self) -> Header {
        Header::parse(&self.whole[0]).expect("a frame that was encoded has a header")
    }

    fn parts(&mut self) -> (u16, Vec<u8>) {
        let frame = &self.whole[self.dice.below(self.whole.len())];
        let header = Header::parse(frame).expect("a frame that was encoded has a header");
        (header.code, frame[HEADER_BYTES..].to_vec())
    }

    /// One thing done to a body.
    fn bend(&mut self, body: &mut Vec<u8>) {
        let at = self.dice.below(body.len() + 1);
        match self.dice.below(7) {
            0 => body.truncate(at),
            1 => body.insert(at, self.dice.below(256) as u8),
            2 => {
                let (_, other) = self.parts();
                let from = self.dice.below(other.len() + 1);
                body.splice(at..at, other[from..].iter().copied());
            }
            3 => {
                let end = (at + self.dice.below(16)).min(body.len());
                body.drain(at..end);
            }
            4 => {
                let number = [0, 1, 0x7fff_ffff, 0xffff_ffff_u32][self.dice.below(4)];
                let end = (at + 4).min(body.len());
                body.splice(at..end, number.to_le_bytes());
            }
            _ if at < body.len() => body[at] ^= 1 << self.dice.below(8),
            _ => body.push(0xff),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bent_frames_say_how_long_they_are_and_differ() {
        let mut frames = Frames::new(1).unwrap();
        let all: Vec<_> = (0..2000).map(|id| frames.bent(id)).collect();
        for (id, frame) in all.iter().enumerate() {
            let (header, _) = Header::split(frame).unwrap();
            assert_eq!(header.id, id as u64);
        }
        let refused = all.iter().filter(|frame| Request::decode(frame).is_err()).count();
        assert!((500..1900).contains(&refused), "{refused} of 2000 are no requests any more");
        assert!(frames.whole.iter().all(|frame| Request::decode(frame).is_ok()));
    }

    #[test]
    fn broken_frames_are_broken_in_the_header() {
        let mut frames = Frames::new(1).unwrap();
        let broken = (0..500).filter(|id| Header::split(&frames.broken(*id)).is_err()).count();
        assert!(broken > 250, "{broken} of 500");
    }
}
