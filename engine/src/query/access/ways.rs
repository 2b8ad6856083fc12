//! All ways of one query, of which the cheapest is taken.
//!
//! What must stay true: a way is weighed only if it gives the rows of the query; a walk
//! is one only if each document has one entry between its bounds, and is left out where
//! it would give neither the order asked for nor rows without documents.

use std::collections::BTreeSet;

use super::super::predicate::Predicate;
use super::super::rows::conditions;
use super::super::{QueryError, SelectPlan};
use super::choose::{Chooser, Draft, FEW, entries};
use super::cost::{Facts, Kind, Reads, cost, documents};
use super::order::{Ordered, Pin, Wants, covers, needed, ordered, scan_sorts, wants};
#[cfg(test)]
use super::whim;
use super::{Access, Choice, Otherwise, Part, Way, ends};
use crate::index::Index;
use proto::Key;

/// Entries of a fetch are read to at most one of so many documents.
const PART: u64 = 4;
/// Entries that may always be read before a query with a limit is a scan.
const SOME: u64 = 128;
/// A walk to the end of a query is sure to be the best way if it ends after one of so many
/// documents.
const SURE: u64 = 8;
/// Of documents of which nothing is known, one of so many is thought to meet a filter.
const GUESS: u64 = 10;

/// How entries may be walked.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Walked {
    reads: Reads,
    /// Whether the rows need sorting.
    sorts: bool,
    order: Option<Ordered>,
}

/// All ways of one query, until one is chosen.
pub(super) struct Choosing<'q> {
    chooser: &'q Chooser<'q>,
    plan: &'q SelectPlan,
    all: &'q [Predicate],
    documents: u64,
    /// Expected to meet the filter.
    matching: u64,
    /// After so many rows the query ends, if they need no sorting.
    wanted: Option<u64>,
    drafts: Vec<Draft>,
    /// Which condition it is, the way, and whether that settles it.
    unions: Vec<(usize, Access, bool)>,
    named: Option<BTreeSet<Key>>,
    /// The one draft there is was taken without being counted.
    uncounted: bool,
}

impl<'q> Choosing<'q> {
    pub(super) fn new(
        chooser: &'q Chooser<'q>,
        plan: &'q SelectPlan,
        documents: u64,
    ) -> Choosing<'q> {
        let all = plan.filter.as_ref().map_or(&[][..], conditions);
        Choosing {
            chooser,
            plan,
            all,
            documents,
            matching: documents,
            wanted: ends(plan),
            drafts: Vec::new(),
            unions: Vec::new(),
            named: None,
            uncounted: false,
        }
    }

    /// Looks at what there is.
    pub(super) fn look(&mut self, named: Option<BTreeSet<Key>>) -> Result<(), QueryError> {
        self.named = named;
        let mut drafts = Vec::new();
        for index in self.chooser.indexes {
            let whole = self.is_of_use(index);
            let Some(mut draft) = self.chooser.draft(index, self.all, whole)? else { continue };
            if self.is_sure(&mut draft)? {
                self.matching = self.sure(&mut draft)?;
                self.drafts = vec![draft];
                return Ok(());
            }
            drafts.push(draft);
            // Only with a limit may one of those behind be sure.
            if self.wanted.is_none() && self.weigh(&mut drafts)? {
                break;
            }
        }
        self.weigh(&mut drafts)?;
        let few = |draft: &Draft| draft.part.entries <= FEW;
        if !self.drafts.last().is_some_and(few) {
            for (at, condition) in self.all.iter().enumerate() {
                if let Predicate::Or(any) = condition
                    && let Some((access, exact)) = self.chooser.union(any)?
                {
                    self.unions.push((at, access, exact));
                }
            }
        }
        let bounded = self.drafts.iter().filter(|draft| !draft.pins.is_empty());
        let known = bounded.map(|draft| draft.part.entries);
        let known = known.chain(self.unions.iter().map(|(_, access, _)| entries(&access.parts)));
        let known = known.chain(self.named.iter().map(|named| named.len() as u64));
        let guess = if self.all.is_empty() { self.documents } else { self.documents / GUESS };
        self.matching = known.min().unwrap_or(guess).min(self.documents);
        Ok(())
    }

    /// Counts what drafts lead to, up to one that leads to few entries: `true`, then.
    fn weigh(&mut self, drafts: &mut Vec<Draft>) -> Result<bool, QueryError> {
        for mut draft in drafts.drain(..) {
            if self.chooser.estimate(&mut draft.part)? {
                let few = draft.part.entries <= FEW && !draft.pins.is_empty();
                self.drafts.push(draft);
                if few {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether a walk gives just the rows of the query in their order, with no other one
    /// between them, and so few that no way to them by an index can be better.
    fn is_sure(&self, draft: &mut Draft) -> Result<bool, QueryError> {
        #[cfg(test)]
        if whim::is_set() {
            return Ok(false);
        }
        let few = self.wanted.is_some_and(|wanted| wanted <= self.documents / SURE);
        if !few || draft.settled.len() < self.all.len() || draft.part.bounds.len() != 1 {
            return Ok(false);
        }
        let Some(walked) = self.walked(draft, true) else { return Ok(false) };
        let whole = walked.order.is_some_and(|order| order.whole);
        Ok(whole && !walked.sorts && self.chooser.single(&draft.part.index, &mut draft.single)?)
    }

    /// Takes a sure draft for what is wanted of it. Only a scan may be better still, if it
    /// has the order too: where most documents are of the query. Then it is counted.
    fn sure(&mut self, draft: &mut Draft) -> Result<u64, QueryError> {
        self.uncounted = scan_sorts(self.plan) || !self.chooser.estimate(&mut draft.part)?;
        if self.uncounted {
            draft.part.entries = self.wanted.unwrap_or(u64::MAX);
        }
        // All that lie there meet the filter.
        Ok(draft.part.entries)
    }

    /// Whether a walk over all entries of an index may give what no scan does.
    fn is_of_use(&self, index: &Index) -> bool {
        let ordered = match wants(self.plan) {
            Wants::Order(by) if !by.is_empty() => ordered(index, &[], by, true, false).is_some(),
            _ => false,
        };
        ordered || needed(self.plan, false).is_some_and(|needed| covers(index, &needed, &[]))
    }

    fn facts(&self, kind: Kind, reads: Reads, within: u64, ranges: usize, sorts: bool) -> Facts {
        let (ranges, matching, wanted) = (ranges as u64, self.matching, self.wanted);
        Facts { kind, reads, within, ranges, ties: false, matching, sorts, wanted }
    }

    /// What a way costs; scans are kept for the last where tests choose by whim.
    fn price(&self, facts: &Facts) -> u64 {
        #[cfg(test)]
        if let Some(price) = whim::next() {
            return if facts.kind == Kind::Scan { u64::MAX } else { price };
        }
        cost(facts)
    }

    pub(super) fn choose(mut self) -> Result<Choice, QueryError> {
        let sorts = scan_sorts(self.plan);
        let scan = self.facts(Kind::Scan, Reads::Documents, self.documents, 0, sorts);
        // The best walk, and the best of the other ways.
        let mut walked: Option<(u64, Choice)> = None;
        let mut best = (self.price(&scan), Choice::scan(self.plan));
        if let Some(named) = self.named.take() {
            let within = named.len() as u64;
            let price = self.price(&self.facts(Kind::Fetch, Reads::Documents, within, 0, sorts));
            // Each is looked for once, there or not: that is never more than to look
            // through what lies between them.
            if named.len() < 2 || price < best.0 {
                let (way, reads, settled) = (Way::Keys(named), Reads::Documents, Vec::new());
                best = (price, Choice { way, reads, settled, sorts, otherwise: None });
            }
        }
        for mut draft in std::mem::take(&mut self.drafts) {
            let walk = self.walk(&mut draft)?;
            let fetch = self.fetch(&draft);
            let (settled, part) = (draft.settled, draft.part);
            let least = walked.as_ref().map_or(best.0, |(price, _)| best.0.min(*price));
            match (walk, fetch) {
                (Some((price, walk)), fetch)
                    if price < least && fetch.is_none_or(|(fetch, _)| price <= fetch) =>
                {
                    let Walked { reads, sorts, order } = walk;
                    let wanted = self.wanted_fields(&part.index, &settled, reads, sorts);
                    let way = Way::Walk { part, order, wanted };
                    walked = Some((price, Choice { way, reads, settled, sorts, otherwise: None }));
                }
                (_, Some((price, reads))) if price < best.0 => {
                    let way = Way::Fetch(self.bounded(vec![part], reads));
                    best = (price, Choice { way, reads, settled, sorts, otherwise: None });
                }
                _ => {}
            }
        }
        for (at, access, exact) in std::mem::take(&mut self.unions) {
            let settled = if exact { vec![at] } else { Vec::new() };
            let reads = self.fetched(&settled);
            let ranges = access.parts.iter().map(|part| part.bounds.len()).sum();
            let facts = self.facts(Kind::Fetch, reads, entries(&access.parts), ranges, sorts);
            let price = self.price(&facts);
            if price < best.0 {
                let way = Way::Fetch(self.bounded(access.parts, reads));
                best = (price, Choice { way, reads, settled, sorts, otherwise: None });
            }
        }
        let mut choice = match walked {
            Some((price, walk)) if price <= best.0 => self.with_other(walk, best),
            _ => best.1,
        };
        // What is told is counted once nothing depends on it: it tells what runs.
        if self.uncounted
            && self.chooser.telling
            && let Way::Walk { part, .. } = &mut choice.way
        {
            self.chooser.estimate(part)?;
        }
        Ok(choice)
    }

    /// A walk, to be given up for the other way if that proves the cheaper one: where its
    /// order lets the query end early, but a filter says when.
    fn with_other(&self, mut walk: Choice, (price, other): (u64, Choice)) -> Choice {
        let Way::Walk { part, order: Some(_), .. } = &walk.way else { return walk };
        let reads = walk.reads == Reads::Documents && !walk.sorts;
        let after = self.patience(price);
        if reads && self.wanted.is_some() && walk.tests(self.plan) && after < part.entries {
            let to = match &other.way {
                Way::Fetch(_) => "fetch",
                Way::Keys(_) => "keys",
                _ => "scan",
            };
            walk.otherwise = Some(Otherwise { choice: Some(Box::new(other)), to, after });
        }
        walk
    }

    /// How many documents a walk may read before it is asked whether a way of this price
    /// is the better one.
    fn patience(&self, price: u64) -> u64 {
        #[cfg(test)]
        if let Some(whim) = whim::next() {
            return whim % 4;
        }
        documents(price).max(SOME)
    }

    /// The conditions that rows must still be tested for.
    fn rest(&self, settled: &[usize]) -> Vec<&'q Predicate> {
        let rest = self.all.iter().enumerate().filter(|(at, _)| !settled.contains(at));
        rest.map(|(_, condition)| condition).collect()
    }

    /// What becomes of the documents of a fetch.
    fn fetched(&self, settled: &[usize]) -> Reads {
        let needed = needed(self.plan, scan_sorts(self.plan));
        let nothing = needed.is_some_and(|needed| needed.is_empty());
        match nothing && self.rest(settled).is_empty() {
            true => Reads::Nothing,
            false => Reads::Documents,
        }
    }

    fn fetch(&self, draft: &Draft) -> Option<(u64, Reads)> {
        if draft.pins.is_empty() {
            return None;
        }
        let reads = self.fetched(&draft.settled);
        let (within, ranges) = (draft.part.entries, draft.part.bounds.len());
        let sorts = scan_sorts(self.plan);
        Some((self.price(&self.facts(Kind::Fetch, reads, within, ranges, sorts)), reads))
    }

    /// Its entries are bounded by what a scan would cost.
    fn bounded(&self, parts: Vec<Part>, reads: Reads) -> Access {
        let counted = parts.iter().all(|part| part.counted);
        let mut most = match reads {
            Reads::Nothing => self.documents.max(entries(&parts)),
            _ => self.documents / PART,
        };
        if counted {
            most = most.max(entries(&parts));
        } else if let Some(rows) = self.wanted.filter(|_| !scan_sorts(self.plan)) {
            // With more entries than this among the documents, a scan is expected to
            // have its rows after at most as many documents.
            most = most.min(self.documents.saturating_mul(rows).isqrt().max(SOME));
        }
        Access { parts, most }
    }

    /// How the entries of a draft may be walked; `None`: it is of no use.
    fn walked(&self, draft: &Draft, single: bool) -> Option<Walked> {
        let index = &draft.part.index;
        let (order, sorts) = match wants(self.plan) {
            Wants::Any => (None, false),
            Wants::Sorted => (None, true),
            Wants::Order(by) => {
                let order = ordered(index, &draft.pins, by, single, draft.cut);
                (order, order.is_none())
            }
        };
        let rest = self.rest(&draft.settled);
        let reads = match needed(self.plan, sorts) {
            Some(needed) if needed.is_empty() && rest.is_empty() => Reads::Nothing,
            Some(needed) if single && covers(index, &needed, &rest) => Reads::Entries,
            _ => Reads::Documents,
        };
        (reads != Reads::Documents || order.is_some()).then_some(Walked { reads, sorts, order })
    }

    /// As [`Choosing::walked`], and what it costs.
    fn walk(&self, draft: &mut Draft) -> Result<Option<(u64, Walked)>, QueryError> {
        // Whether there are arrays is looked at only where it decides something.
        let Some(mut found) = self.walked(draft, true) else { return Ok(None) };
        let index = &draft.part.index;
        let all_one = draft.pins.len() == index.definition.fields.len()
            && draft.pins.iter().all(|pin| *pin == Pin::One);
        let decides = !all_one || self.walked(draft, false) != Some(found);
        if decides && !self.chooser.single(index, &mut draft.single)? {
            // Each document must have one entry there.
            match self.walked(draft, false).filter(|_| all_one) {
                Some(other) => found = other,
                None => return Ok(None),
            }
        }
        let Walked { reads, sorts, order } = found;
        let (within, ranges) = (draft.part.entries, draft.part.bounds.len());
        let facts = self.facts(Kind::Walk, reads, within, ranges, sorts);
        let ties = order.is_some_and(|order| !order.whole);
        let mut price = self.price(&Facts { ties, ..facts });
        if reads == Reads::Documents && self.wanted.is_none() && !draft.part.counted {
            // A fetch of the same entries ends if they are far more than thought.
            price = price.saturating_add(1);
        }
        Ok(Some((price, found)))
    }

    /// Of the fields of an index, those that rows are made of.
    fn wanted_fields(
        &self,
        index: &Index,
        settled: &[usize],
        reads: Reads,
        sorts: bool,
    ) -> Vec<bool> {
        let fields = &index.definition.fields;
        if reads != Reads::Entries {
            return vec![false; fields.len()];
        }
        let needed = needed(self.plan, sorts).unwrap_or_default();
        let rest = self.rest(settled);
        let asked = |path: &str| {
            let tested = |condition: &&Predicate| condition.names(path);
            needed.contains(&path) || rest.iter().any(tested)
        };
        fields.iter().map(|field| asked(&field.path)).collect()
    }
}
