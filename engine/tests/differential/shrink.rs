//! A failing history made small: fewer steps, fewer stores and indexes, smaller
//! documents and queries, as long as it fails the same way.

use crate::query::Query;
use crate::tally::Failure;
use crate::value::{V, key_text};
use crate::world::{Breadth, Op, Setup};

/// Steps that may be run to shrink one failure.
const BUDGET: u64 = 60_000;

/// Runs a history.
pub type Run = fn(&Setup, &[Op]) -> Result<(), Failure>;

struct Shrink {
    setup: Setup,
    history: Vec<Op>,
    failure: Failure,
    left: u64,
    run: Run,
}

/// The smallest history found that fails as this one did.
pub fn shrink(
    setup: Setup,
    history: Vec<Op>,
    failure: Failure,
    run: Run,
) -> (Setup, Vec<Op>, Failure) {
    let mut shrink = Shrink { setup, history, failure, left: BUDGET, run };
    shrink.history.truncate(shrink.failure.at + 1);
    shrink.fewer_stores();
    shrink.without_questions();
    // A smaller query lets documents go, and fewer documents parts of a query.
    loop {
        let before = shrink.left;
        let mut smaller = shrink.fewer_steps();
        smaller |= shrink.fewer_indexes();
        smaller |= shrink.simpler_steps();
        if !smaller || shrink.left == before || shrink.left == 0 {
            return (shrink.setup, shrink.history, shrink.failure);
        }
    }
}

impl Shrink {
    /// Takes what fails in the same way.
    fn take(&mut self, setup: Setup, mut history: Vec<Op>) -> bool {
        let cost = history.len() as u64 * setup.stores.len() as u64;
        if self.left < cost {
            self.left = 0;
            return false;
        }
        self.left -= cost;
        match (self.run)(&setup, &history) {
            Err(failure) if failure.kind == self.failure.kind => {
                history.truncate(failure.at + 1);
                (self.setup, self.history, self.failure) = (setup, history, failure);
                true
            }
            _ => false,
        }
    }

    fn fewer_stores(&mut self) {
        let alone = vec![self.setup.stores[self.failure.store].clone()];
        let setup = Setup { stores: alone, ..self.setup.clone() };
        let narrow = |op: &Op| match op {
            // Of which store it is asked hangs on how many there are.
            Op::Ask(query, _) => Op::Ask(query.clone(), Breadth::All),
            other => other.clone(),
        };
        let history: Vec<Op> = self.history.iter().map(narrow).collect();
        let alone = self.take(setup.clone(), history.clone());
        if self.setup.memory.is_some() {
            let history = if alone { self.history.clone() } else { history };
            self.take(Setup { memory: None, ..self.setup.clone() }, history);
        }
    }

    fn without_questions(&mut self) {
        let last = self.history.len() - 1;
        let needed =
            |(at, op): &(usize, &Op)| *at == last || !matches!(op, Op::Ask(..) | Op::Check);
        let history = self.history.iter().enumerate().filter(needed).map(|(_, op)| op.clone());
        let history = history.collect();
        self.take(self.setup.clone(), history);
    }

    fn fewer_steps(&mut self) -> bool {
        let mut smaller = false;
        let mut size = self.history.len() / 2;
        while size > 0 {
            let mut end = self.history.len();
            while end > 0 && self.left > 0 {
                let start = end.saturating_sub(size);
                let mut history = self.history.clone();
                history.drain(start..end.min(history.len()));
                smaller |= self.take(self.setup.clone(), history);
                end = start.min(self.history.len());
            }
            size /= 2;
        }
        smaller
    }

    fn fewer_indexes(&mut self) -> bool {
        let mut smaller = false;
        let mut at = 0;
        while at < self.setup.stores[0].len() && self.setup.stores.len() == 1 {
            let mut setup = self.setup.clone();
            setup.stores[0].remove(at);
            let taken = self.take(setup, self.history.clone());
            smaller |= taken;
            at += usize::from(!taken);
        }
        smaller
    }

    fn simpler_steps(&mut self) -> bool {
        let mut smaller = false;
        let mut at = 0;
        while at < self.history.len() {
            let candidates = simpler(&self.history[at]);
            let taken = candidates.into_iter().any(|op| {
                let mut history = self.history.clone();
                history[at] = op;
                self.take(self.setup.clone(), history)
            });
            smaller |= taken;
            at += usize::from(!taken);
        }
        smaller
    }
}

fn simpler(op: &Op) -> Vec<Op> {
    match op {
        Op::Insert(key, document) => {
            smaller_values(document).into_iter().map(|doc| Op::Insert(*key, doc)).collect()
        }
        Op::InsertOther(key, document) => {
            smaller_values(document).into_iter().map(|doc| Op::InsertOther(*key, doc)).collect()
        }
        Op::Change(query) => query.smaller().into_iter().map(Op::Change).collect(),
        Op::Ask(query, breadth) => {
            query.smaller().into_iter().map(|query| Op::Ask(query, *breadth)).collect()
        }
        _ => vec![],
    }
}

/// Values with a field or an item less, here or within.
fn smaller_values(value: &V) -> Vec<V> {
    let mut all = Vec::new();
    match value {
        V::Doc(fields) => {
            for at in 0..fields.len() {
                let mut fewer = fields.clone();
                fewer.remove(at);
                all.push(V::Doc(fewer));
            }
            for (at, (_, held)) in fields.iter().enumerate() {
                for less in smaller_values(held) {
                    let mut fields = fields.clone();
                    fields[at].1 = less;
                    all.push(V::Doc(fields));
                }
            }
        }
        V::Array(items) => {
            for at in 0..items.len() {
                let mut fewer = items.clone();
                fewer.remove(at);
                all.push(V::Array(fewer));
            }
            for (at, item) in items.iter().enumerate() {
                for less in smaller_values(item) {
                    let mut items = items.clone();
                    items[at] = less;
                    all.push(V::Array(items));
                }
            }
        }
        _ => {}
    }
    all
}

/// A history for people.
pub fn told(setup: &Setup, history: &[Op], failure: &Failure) -> String {
    let indexes = |store: &Vec<usize>| {
        let names = store.iter().map(|number| crate::indexes::INDEXES[*number]);
        format!("[{}]", names.collect::<Vec<_>>().join(", "))
    };
    let stores: Vec<String> = setup.stores.iter().map(indexes).collect();
    let mut text = format!("  indexes of each store: {}\n", stores.join("; "));
    if let Some(memory) = setup.memory {
        text += &format!("  a query may use {memory} bytes\n");
    }
    let asked = |query: &Query| {
        let (text, parameters) = query.text("a", "b");
        let given = format!("  given {parameters:?}");
        text + if parameters.is_empty() { "" } else { &given }
    };
    let shown = |document: &V| document.literal().unwrap_or_else(|| format!("{document:?}"));
    for op in history {
        text += "  ";
        text += &match op {
            Op::Insert(key, doc) => format!("insert {}: {}", key_text(*key), shown(doc)),
            Op::InsertOther(key, doc) => format!("insert b {}: {}", key_text(*key), shown(doc)),
            Op::Index(number) => format!("index {}", crate::indexes::INDEXES[*number]),
            Op::Change(query) => format!("change {}", asked(query)),
            Op::Clash(number) => format!("clash {number}"),
            Op::Flush => "flush".to_owned(),
            Op::Reopen => "reopen".to_owned(),
            Op::Collect => "collect".to_owned(),
            Op::Ask(query, _) => format!("ask {}", asked(query)),
            Op::Check => "check all documents and indexes".to_owned(),
        };
        text.push('\n');
    }
    text + &format!("{:?} in a{}: {}", failure.kind, failure.store, failure.told)
}
