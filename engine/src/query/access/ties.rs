//! The entries of an index in the order of a query.
//!
//! What must stay true: entries come as a sort of their rows would give them. Where the
//! order of the entries says too little, the group of entries it says nothing about is
//! settled apart: in key order by a walk of its own if they share all fields, else by
//! picking the first of them in as many passes as memory asks for, by their keys or, if a
//! value was cut, by what their documents have. What a pick holds is of the query's
//! budget.

use std::collections::BinaryHeap;
use std::sync::Arc;

use lsm::{Cursor, Direction, KeyspaceId, Snapshot};
use proto::doc::Doc;
use proto::{Key, Status};

use super::super::rows::KeyText;
use super::super::sort::sort_key;
use super::super::work::Work;
use super::super::{QueryError, SelectPlan};
use super::Part;
use super::bounds::narrower;
use super::order::Ordered;
use super::ranges::Ranges;
use crate::index::{Bounds, Ends, Index, document_of};

/// Entries picked in the first pass; each one after it picks more.
const PICK: usize = 64;
const PICK_GROWTH: usize = 8;
/// Bytes a picked entry takes beside its own.
const PICK_BYTES: usize = 96;

/// See the module.
pub(super) struct Entries {
    snapshot: Snapshot,
    keyspace: KeyspaceId,
    plan: Arc<SelectPlan>,
    index: Arc<Index>,
    order: Option<Ordered>,
    /// Whether what stands beside the entries is asked for.
    values: bool,
    ranges: Ranges,
    /// The cursor stands on an entry that was not given yet.
    ahead: bool,
    ties: Option<Ties>,
    key: Vec<u8>,
    value: Vec<u8>,
    /// Scratch: what entries that are equal to the one stood on begin with.
    group: Vec<u8>,
}

/// Entries that are equal in the order, being given.
enum Ties {
    /// Those of one walk.
    Walk(Cursor),
    Picks(Picks),
}

struct Picks {
    within: Bounds,
    /// By what their documents have, since a value was cut; else by key alone.
    by_documents: bool,
    /// The last one picked.
    last: Option<Pick>,
    /// Of the pass, in order.
    picked: std::vec::IntoIter<Pick>,
    /// How many the next pass picks.
    many: usize,
    /// Whether there are some behind those picked.
    more: bool,
}

/// An entry, by its place in the order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Pick {
    sort: Vec<u8>,
    document: Key,
    entry: Vec<u8>,
    value: Vec<u8>,
}

impl Pick {
    fn size(&self) -> usize {
        PICK_BYTES + self.sort.len() + self.entry.len() + self.value.len()
    }
}

impl Entries {
    pub(super) fn open(
        snapshot: &Snapshot,
        keyspace: KeyspaceId,
        plan: &Arc<SelectPlan>,
        part: &Part,
        order: Option<Ordered>,
        values: bool,
        expected: u64,
    ) -> Result<Entries, QueryError> {
        let Part { index, bounds, .. } = part;
        let reverse = order.as_ref().is_some_and(|order| order.reverse);
        // Where the first fields end stands beside the entry.
        let several = index.definition.fields.len() > 1;
        let parts = order.is_some_and(|order| !order.whole);
        Ok(Entries {
            snapshot: snapshot.clone(),
            keyspace,
            plan: Arc::clone(plan),
            ranges: Ranges::open(snapshot, index, bounds, reverse, expected)?,
            index: Arc::clone(index),
            values: values || (parts && several),
            order,
            ahead: false,
            ties: None,
            key: Vec::new(),
            value: Vec::new(),
            group: Vec::new(),
        })
    }

    /// Moves to the next entry; `false` at the end.
    pub(super) fn advance(&mut self, work: &Work) -> Result<bool, QueryError> {
        if self.order.is_none() {
            return self.next_entry(work);
        }
        loop {
            if self.ties.is_some() {
                if self.next_tie(work)? {
                    return Ok(true);
                }
                self.ties = None;
            }
            if !self.next_entry(work)? {
                return Ok(false);
            }
            if !self.begin_ties(work)? {
                return Ok(true);
            }
        }
    }

    /// Moves behind the next entries, at most `most`, and says how many they were.
    pub(super) fn count(&mut self, most: u64, work: &Work) -> Result<u64, QueryError> {
        let ordered = self.order.is_some();
        let mut counted = 0;
        // What they say is not looked at.
        while counted < most && if ordered { self.advance(work)? } else { self.move_on(work)? } {
            counted += 1;
        }
        Ok(counted)
    }

    /// The entry stood on, and what stands beside it, if that is asked for.
    pub(super) fn entry(&self) -> (&[u8], &[u8]) {
        (&self.key, &self.value)
    }

    /// The key of the document it is of.
    pub(super) fn document(&self) -> Result<Key, QueryError> {
        document_of(&self.index, &self.key).map_err(QueryError::from_refusal)
    }

    /// The next one as the index has them.
    fn next_entry(&mut self, work: &Work) -> Result<bool, QueryError> {
        if !self.ahead && !self.move_on(work)? {
            return Ok(false);
        }
        self.ahead = false;
        let Some(cursor) = self.ranges.cursor() else { return Ok(false) };
        read(cursor, self.values, &mut self.key, &mut self.value)?;
        Ok(true)
    }

    /// Moves the cursor to the next entry, through all bounds.
    fn move_on(&mut self, work: &Work) -> Result<bool, QueryError> {
        let found = self.ranges.advance()?;
        if found {
            work.entry()?;
        }
        Ok(found)
    }

    /// A cursor of its own.
    fn apart(&self, bounds: &Bounds, reverse: bool) -> Result<Cursor, QueryError> {
        let direction = if reverse { Direction::Reverse } else { Direction::Forward };
        let (low, high) = bounds.borrowed();
        Ok(self.snapshot.range(self.index.keyspace, low, high, direction)?)
    }

    /// Whether the entry stood on is one of several to settle; they are begun then.
    fn begin_ties(&mut self, work: &Work) -> Result<bool, QueryError> {
        let Some(order) = self.order else { return Ok(false) };
        let short = if order.whole { self.index.short(&self.key) } else { None };
        let ends = match short {
            Some(end) => Ends { end, cut: None },
            None => {
                if !self.values
                    && let Some(cursor) = self.ranges.cursor()
                {
                    self.value.clear();
                    self.value.extend_from_slice(cursor.value()?);
                }
                let ends = self.index.ends(&self.key, &self.value, order.from, order.shared);
                ends.map_err(QueryError::from_refusal)?
            }
        };
        if ends.cut.is_none() && order.whole && order.reverse == order.keys_down {
            return Ok(false);
        }
        self.group.clear();
        self.group.extend_from_slice(&self.key[..ends.cut.unwrap_or(ends.end)]);
        if ends.cut.is_none() {
            // Alone, as most are?
            let number = self.ranges.number();
            self.ahead = self.move_on(work)?;
            let Some(cursor) = self.ranges.cursor().filter(|_| self.ahead) else {
                return Ok(false);
            };
            if !cursor.key().starts_with(&self.group) || self.ranges.number() != number {
                return Ok(false);
            }
        }
        self.ahead = false;
        let within = narrower(&Bounds::of(&self.group), self.ranges.within());
        self.ranges.leave(&within)?;
        self.ties = Some(if order.whole && ends.cut.is_none() {
            Ties::Walk(self.apart(&within, order.keys_down)?)
        } else {
            Ties::Picks(Picks {
                within,
                by_documents: ends.cut.is_some(),
                last: None,
                picked: Vec::new().into_iter(),
                many: PICK,
                more: true,
            })
        });
        Ok(true)
    }

    fn next_tie(&mut self, work: &Work) -> Result<bool, QueryError> {
        let Some(mut ties) = self.ties.take() else { return Ok(false) };
        let found = match &mut ties {
            Ties::Walk(cursor) => {
                let found = cursor.advance()?;
                if found {
                    work.entry()?;
                    read(cursor, self.values, &mut self.key, &mut self.value)?;
                }
                found
            }
            Ties::Picks(picks) => self.next_pick(picks, work)?,
        };
        self.ties = Some(ties);
        Ok(found)
    }

    fn next_pick(&mut self, picks: &mut Picks, work: &Work) -> Result<bool, QueryError> {
        if picks.picked.len() == 0 {
            if !picks.more {
                return Ok(false);
            }
            self.pass(picks, work)?;
        }
        let Some(pick) = picks.picked.next() else { return Ok(false) };
        work.give_back(pick.size());
        (self.key, self.value) = (pick.entry.clone(), pick.value.clone());
        picks.last = Some(pick);
        Ok(true)
    }

    /// Picks the first entries behind the last one picked.
    fn pass(&self, picks: &mut Picks, work: &Work) -> Result<(), QueryError> {
        let mut first: BinaryHeap<Pick> = BinaryHeap::new();
        let mut cursor = self.apart(&picks.within, false)?;
        picks.more = false;
        while cursor.advance()? {
            work.entry()?;
            let (mut entry, mut value) = (Vec::new(), Vec::new());
            read(&mut cursor, self.values, &mut entry, &mut value)?;
            let document = document_of(&self.index, &entry).map_err(QueryError::from_refusal)?;
            let sort = if picks.by_documents { self.sort_key(document, work)? } else { Vec::new() };
            let pick = Pick { sort, document, entry, value };
            if picks.last.as_ref().is_some_and(|last| pick <= *last) {
                continue;
            }
            Self::hold(pick, &mut first, picks, work)?;
        }
        picks.many = picks.many.saturating_mul(PICK_GROWTH);
        picks.picked = first.into_sorted_vec().into_iter();
        Ok(())
    }

    /// Holds an entry if it is among the first; what is given up comes behind all held.
    fn hold(
        pick: Pick,
        first: &mut BinaryHeap<Pick>,
        picks: &mut Picks,
        work: &Work,
    ) -> Result<(), QueryError> {
        loop {
            if first.len() < picks.many && work.try_take(pick.size()) {
                first.push(pick);
                return Ok(());
            }
            picks.more = true;
            match first.peek() {
                // There must be room for one.
                None => return Err(work.no_memory("sort")),
                Some(worst) if pick > *worst => {
                    picks.many = first.len();
                    return Ok(());
                }
                Some(worst) => {
                    work.give_back(worst.size());
                    first.pop();
                    picks.many = first.len() + 1;
                }
            }
        }
    }

    /// What a sort would compare of a document.
    fn sort_key(&self, key: Key, work: &Work) -> Result<Vec<u8>, QueryError> {
        let Some(document) = self.snapshot.get(self.keyspace, &key.to_bytes())? else {
            return Err(lost(key));
        };
        work.examined(document.len())?;
        let mut sort = Vec::new();
        let text = KeyText::of(key, self.plan.order.iter().any(|order| order.path.is_key()));
        sort_key(&self.plan.order, false, text.get(), Doc::trusted(&document), &mut sort);
        Ok(sort)
    }
}

/// Copies the entry a cursor stands on.
fn read(
    cursor: &mut Cursor,
    values: bool,
    key: &mut Vec<u8>,
    value: &mut Vec<u8>,
) -> Result<(), QueryError> {
    key.clear();
    key.extend_from_slice(cursor.key());
    if values {
        value.clear();
        value.extend_from_slice(cursor.value()?);
    }
    Ok(())
}

/// An index has an entry of a document that is not there.
pub(super) fn lost(key: Key) -> QueryError {
    let message = format!(
        "an index has an entry of document {key}, which is not there: run planck verify, then \
         drop the index and create it again"
    );
    QueryError::Refused(Status::Corrupt, message)
}
