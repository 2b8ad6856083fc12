//! Which ways to an answer a run has taken, by what `explain()` says.
//!
//! What must stay true: a run that never took a wanted way fails, since it proved
//! nothing of it; what is explained is the query that was answered.
//!
//! A way that is not there yet stands in the table with `wanted: false`: it is counted
//! and not asked for. To ask for it, set `wanted: true`.

use std::collections::BTreeMap;

use crate::indexes::INDEXES;
use crate::query::{Query, Shape, Verb};
use crate::value::V;

/// A query, and what the engine says about it.
pub struct Told<'a> {
    pub query: &'a Query,
    pub explained: &'a V,
    /// Documents of the store.
    pub documents: u64,
    /// The indexes of the store.
    pub indexes: &'a [usize],
}

/// A way to an answer.
pub struct Mark {
    pub name: &'static str,
    pub wanted: bool,
    seen: fn(&Told<'_>) -> bool,
}

const fn wanted(name: &'static str, seen: fn(&Told<'_>) -> bool) -> Mark {
    Mark { name, wanted: true, seen }
}

/// A way that is taken too seldom to be asked for.
const fn later(name: &'static str, seen: fn(&Told<'_>) -> bool) -> Mark {
    Mark { name, wanted: false, seen }
}

/// Documents that are fetched at once, and entries that are counted one by one: as
/// `query/access/` has them.
const CHUNK: u64 = 16;
const LOOK: u64 = 128;

/// All ways there are.
pub const MARKS: [Mark; 33] = [
    wanted("scan of all", |t| t.scans() && t.access("from").is_none()),
    wanted("scan of a range of keys", |t| t.access("from").is_some()),
    wanted("scan of nothing", |t| t.access("nothing").is_some()),
    wanted("scan backwards", |t| t.scans() && t.access_is("reverse")),
    wanted("keys alone", |t| t.access_is("keys_only")),
    wanted("keys alone, backwards", |t| t.access_is("keys_only") && t.access_is("reverse")),
    wanted("an index", |t| t.parts().len() == 1),
    wanted("an index backwards", |t| t.fetches() && t.access_is("reverse")),
    wanted("an index for a change", |t| t.fetches() && matches!(t.query.verb, Verb::Change(..))),
    wanted("an index below a limit", |t| t.fetches() && !t.sorts() && t.query.limit.is_some()),
    wanted("two fields of an index", |t| t.of_parts("fields", |n| n == 2)),
    wanted("three fields of an index", |t| t.of_parts("fields", |n| n == 3)),
    wanted("many ranges of an index", |t| t.of_parts("ranges", |n| n > 1)),
    wanted("an index read for nothing", |t| t.of_parts("ranges", |n| n == 0)),
    wanted("an index of an array", |t| t.uses("many_")),
    wanted("a sparse index", |t| t.uses("sparse_")),
    wanted("a unique index", |t| t.uses("unique_")),
    wanted("an or of parts", |t| t.parts().len() > 1),
    wanted("an or of two indexes", |t| t.names().windows(2).any(|pair| pair[0] != pair[1])),
    wanted("more than a chunk fetched", |t| t.fetches() && t.figure("examined") > 2 * CHUNK),
    wanted("more entries than are counted", |t| t.of_parts("expected", |n| n > LOOK)),
    wanted("a scan for want of a good index", |t| {
        t.scans() && t.query.filter.is_some() && t.figure("examined") == t.documents
    }),
    // Entries were read, and then the documents all the same: seldom, since exact counts.
    later("a guess that was wrong", |t| {
        t.scans() && t.query.lookups.is_empty() && t.figure("examined") > t.documents
    }),
    wanted("a sort in memory", |t| t.sorts() && t.figure("spilled_runs") == 0),
    wanted("a sort that spilled", |t| {
        t.sorts() && t.query.shape.is_none() && t.figure("spilled_runs") > 1
    }),
    wanted("a sort behind an index", |t| t.sorts() && t.fetches() && t.figure("returned") > CHUNK),
    wanted("groups that spilled", |t| {
        matches!(t.query.shape, Some(Shape::Group(..)))
            && t.query.order.is_empty()
            && t.figure("spilled_runs") > 1
    }),
    wanted("distinct values that spilled", |t| {
        matches!(t.query.shape, Some(Shape::Distinct(_))) && t.figure("spilled_runs") > 1
    }),
    wanted("lookups by key", |t| t.steps("lookup").any(|step| text(step, "by") == "key")),
    wanted("lookups by a table", |t| t.steps("lookup").any(|step| text(step, "by") == "hash")),
    wanted("a partial index", |t| t.uses("partial_")),
    // What is ordered by a field, and needs no sort.
    wanted("the order of an index", |t| {
        let by_key = t.query.order.first().is_none_or(|(path, _)| path == "key");
        t.fetches() && !by_key && !t.sorts() && !matches!(t.query.verb, Verb::Count)
    }),
    // An index that is all a query reads.
    wanted("entries instead of documents", |t| t.access_is("covered")),
];

/// How often each way was taken.
#[derive(Debug, Default)]
pub struct Marks(BTreeMap<&'static str, u64>);

impl Marks {
    pub fn see(&mut self, told: &Told<'_>) {
        for mark in MARKS.iter().filter(|mark| (mark.seen)(told)) {
            *self.0.entry(mark.name).or_default() += 1;
        }
    }

    /// Wanted ways that were never taken.
    pub fn missing(&self) -> Vec<&'static str> {
        let never = |mark: &&Mark| mark.wanted && !self.0.contains_key(mark.name);
        MARKS.iter().filter(never).map(|mark| mark.name).collect()
    }
}

fn text<'v>(of: &'v V, name: &str) -> &'v str {
    match of.field(name) {
        Some(V::Text(text)) => text,
        _ => "",
    }
}

fn items(of: Option<&V>) -> &[V] {
    match of {
        Some(V::Array(items)) => items,
        _ => &[],
    }
}

impl Told<'_> {
    fn steps(&self, name: &'static str) -> impl Iterator<Item = &V> {
        let plan = items(self.explained.field("plan")).iter();
        plan.filter(move |step| text(step, "step") == name)
    }

    fn access(&self, name: &str) -> Option<&V> {
        items(self.explained.field("plan")).first().and_then(|step| step.field(name))
    }

    fn access_is(&self, name: &str) -> bool {
        matches!(self.access(name), Some(V::Bool(true)))
    }

    fn scans(&self) -> bool {
        matches!(self.access("step"), Some(V::Text(step)) if step == "scan")
    }

    fn fetches(&self) -> bool {
        matches!(self.access("step"), Some(V::Text(step)) if step == "index")
    }

    fn parts(&self) -> &[V] {
        items(self.access("parts"))
    }

    fn names(&self) -> Vec<&str> {
        self.parts().iter().map(|part| text(part, "index")).collect()
    }

    fn uses(&self, kind: &str) -> bool {
        self.names().iter().any(|name| name.starts_with(kind))
    }

    fn of_parts(&self, name: &str, test: fn(u64) -> bool) -> bool {
        let figure = |part: &V| part.field(name).map_or(0, V::whole) as u64;
        self.parts().iter().any(|part| test(figure(part)))
    }

    fn sorts(&self) -> bool {
        self.steps("sort").next().is_some()
    }

    fn figure(&self, name: &str) -> u64 {
        self.explained.field(name).map_or(0, V::whole) as u64
    }

    /// The documents under the keys that the query names.
    fn names_keys(&self) -> bool {
        self.first_is("keys")
    }

    /// The number of documents that is kept.
    fn is_kept(&self) -> bool {
        self.first_is("kept")
    }

    fn first_is(&self, what: &str) -> bool {
        items(self.explained.field("plan")).first().is_some_and(|step| text(step, "step") == what)
    }

    /// Whether the figures agree with each other and with the answer.
    pub fn is_sound(&self, returned: u64, memory: u64) -> Result<(), String> {
        let has = |name: &&str| {
            let named = |number: &&usize| INDEXES[**number].contains(&format!("\"{name}\""));
            self.indexes.iter().any(|number| named(&number))
        };
        let given_whole = self.query.shape.is_none() && !matches!(self.query.verb, Verb::Count);
        for (holds, what) in [
            (self.figure("returned") == returned, "returned is another number of rows"),
            (self.figure("memory_bytes") <= memory, "it held more memory than it may"),
            (
                (self.figure("spilled_runs") == 0) == (self.figure("spilled_bytes") == 0),
                "runs without bytes, or bytes without runs",
            ),
            (
                !given_whole || self.access_is("covered") || self.figure("examined") >= returned,
                "it gave more rows than it examined",
            ),
            (
                self.scans() || self.fetches() || self.names_keys() || self.is_kept(),
                "the first step is no access",
            ),
            (self.names().iter().all(has), "the store has no index of that name"),
            (self.steps("lookup").count() == self.query.lookups.len(), "not so many lookups"),
            (
                self.steps("count").count() == usize::from(matches!(self.query.verb, Verb::Count)),
                "count() is no step, or one too many",
            ),
        ] {
            if !holds {
                return Err(format!("explain: {what}; {returned} rows were answered"));
            }
        }
        Ok(())
    }
}
