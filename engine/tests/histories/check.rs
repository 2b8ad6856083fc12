//! Whether a history could have come of its transactions one after the other.
//!
//! Lists that are only appended to say by themselves in which order that was done (the idea
//! of Elle, by Kingsbury and Alvaro): of what was read follows who must stand before whom, and
//! a circle among those is proof that no order explains what was seen. Nothing here knows how
//! the engine does it, nor in which order it says that it did.
//!
//! What must hold for `check` to be right: no value is appended twice, and the last
//! transaction reads all lists when all others have ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A list, by its number.
pub type List = u64;

#[derive(Clone, Debug)]
pub enum Op {
    Append(List, u64),
    Read(List, Vec<u64>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Committed,
    /// Refused or given up: nobody must see what it wrote, and what it read must be of one
    /// moment all the same.
    Dropped,
    /// The machine went down before the answer came.
    Unknown,
}

/// One transaction, or an operation by itself.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// A moment before it began, and one when it had ended.
    pub began: u64,
    pub ended: u64,
    pub fate: Fate,
    pub ops: Vec<Op>,
}

/// Why one transaction must stand before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    /// It wrote what the other wrote behind.
    Ww,
    /// It wrote what the other read.
    Wr,
    /// It did not read what the other wrote.
    Rw,
    /// It had ended when the other began.
    Time,
}

impl fmt::Display for Edge {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Edge::Ww => "was appended to by",
            Edge::Wr => "was read by",
            Edge::Rw => "did not see what was appended by",
            Edge::Time => "ended before",
        })
    }
}

/// What a read shows of others: what was read without what the transaction itself appended.
struct Seen<'a> {
    by: usize,
    list: List,
    others: &'a [u64],
}

/// # Errors
/// What no order of the transactions explains.
pub fn check(history: &[Transaction]) -> Result<(), String> {
    let orders = orders(history)?;
    let writers = writers(history)?;
    let mut there = BTreeSet::new();
    for (list, order) in &orders {
        for value in order {
            if !writers.contains_key(value) {
                return Err(format!("list {list} has {value}, which nobody appended"));
            }
            if !there.insert(value) {
                return Err(format!("list {list} has {value} twice: {order:?}"));
            }
        }
    }
    fates(history, |value| there.contains(&value))?;
    let mut edges: Vec<Vec<(usize, Edge)>> = vec![Vec::new(); history.len()];
    for order in orders.values() {
        for pair in order.windows(2) {
            edges[writers[&pair[0]]].push((writers[&pair[1]], Edge::Ww));
        }
    }
    let none = Vec::new();
    for Seen { by, list, others } in seen(history)? {
        let order = orders.get(&list).unwrap_or(&none);
        if !order.starts_with(others) {
            return Err(format!("T{by} read {others:?} of list {list}, which is {order:?}"));
        }
        let last = others.last().map(|value| writers[value]);
        let next = order.get(others.len()).map(|value| writers[value]);
        if last.is_some() && last == next && last != Some(by) {
            return Err(format!(
                "T{by} saw half of what T{} appended to {list}",
                next.unwrap_or(by)
            ));
        }
        edges.get_mut(by).map(|edges| next.map(|next| edges.push((next, Edge::Rw))));
        if let Some(last) = last {
            edges[last].push((by, Edge::Wr));
        }
    }
    for (one, first) in history.iter().enumerate() {
        for (other, then) in history.iter().enumerate() {
            if first.ended < then.began {
                edges[one].push((other, Edge::Time));
            }
        }
    }
    match circle(&edges) {
        Some(circle) => Err(told(history, &circle)),
        None => Ok(()),
    }
}

/// Each list as it was when it was longest.
fn orders(history: &[Transaction]) -> Result<BTreeMap<List, Vec<u64>>, String> {
    let last = history.last().ok_or("no transactions")?;
    let read = last.ops.iter().map(|op| match op {
        Op::Read(list, values) => Ok((*list, values.clone())),
        Op::Append(..) => Err("the last transaction only reads".to_owned()),
    });
    read.collect()
}

/// Who appended each value.
fn writers(history: &[Transaction]) -> Result<BTreeMap<u64, usize>, String> {
    let mut all = BTreeMap::new();
    for (by, transaction) in history.iter().enumerate() {
        for op in &transaction.ops {
            if let Op::Append(_, value) = op
                && all.insert(*value, by).is_some()
            {
                return Err(format!("{value} was appended twice: the history is none"));
            }
        }
    }
    Ok(all)
}

/// All of what was committed is there, and nothing of what was dropped; what became of the
/// rest is to be seen by its own values, all or none.
fn fates(history: &[Transaction], there: impl Fn(u64) -> bool) -> Result<(), String> {
    for (by, transaction) in history.iter().enumerate() {
        let mut found = [None; 2];
        for op in &transaction.ops {
            if let Op::Append(list, value) = op {
                found[usize::from(there(*value))] = Some((list, value));
            }
        }
        let (not_there, is_there) = (found[0], found[1]);
        match (transaction.fate, not_there, is_there) {
            (Fate::Committed, Some((list, value)), _) => {
                return Err(format!("T{by} was committed, and list {list} has not its {value}"));
            }
            (Fate::Dropped, _, Some((list, value))) => {
                return Err(format!("T{by} was dropped, and list {list} has its {value}"));
            }
            (Fate::Unknown, Some((_, lost)), Some((_, kept))) => {
                return Err(format!("T{by} was torn: its {kept} is there, its {lost} is not"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What each read shows of others.
fn seen(history: &[Transaction]) -> Result<Vec<Seen<'_>>, String> {
    let mut all = Vec::new();
    for (by, transaction) in history.iter().enumerate() {
        let mut own: BTreeMap<List, Vec<u64>> = BTreeMap::new();
        for op in &transaction.ops {
            match op {
                Op::Append(list, value) => own.entry(*list).or_default().push(*value),
                Op::Read(list, values) => {
                    let own = own.entry(*list).or_default();
                    let others = values.strip_suffix(&own[..]).ok_or_else(|| {
                        format!("T{by} appended {own:?} to list {list}, and read {values:?}")
                    })?;
                    all.push(Seen { by, list: *list, others });
                }
            }
        }
    }
    Ok(all)
}

/// Transactions each of which must stand before the next, and the last before the first.
fn circle(edges: &[Vec<(usize, Edge)>]) -> Option<Vec<(usize, Edge)>> {
    // Of each: not come to, on the path, done with.
    let mut state = vec![0u8; edges.len()];
    for root in 0..edges.len() {
        let mut path: Vec<(usize, usize)> = Vec::new();
        if state[root] == 0 {
            state[root] = 1;
            path.push((root, 0));
        }
        while let Some((at, next)) = path.last_mut() {
            let (from, edge) = (*at, edges[*at].get(*next));
            *next += 1;
            match edge {
                None => {
                    state[from] = 2;
                    path.pop();
                }
                // What it did itself needs no order.
                Some((to, _)) if *to == from => {}
                Some((to, _)) if state[*to] == 0 => {
                    state[*to] = 1;
                    path.push((*to, 0));
                }
                Some((to, _)) if state[*to] == 1 => {
                    let begin = path.iter().position(|(at, _)| at == to)?;
                    let by = path[begin..].iter().map(|(at, next)| (*at, edges[*at][next - 1].1));
                    return Some(by.collect());
                }
                Some(_) => {}
            }
        }
    }
    None
}

fn told(history: &[Transaction], circle: &[(usize, Edge)]) -> String {
    let mut text = String::from("a circle:");
    for (at, edge) in circle {
        text += &format!("\n  T{at} {edge}");
    }
    text += &format!(" T{}", circle[0].0);
    for (at, _) in circle {
        text += &format!("\n  T{at}: {:?}", history[*at]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Fate, Op, Transaction, check};

    /// All at once; the last one, behind them, reads these.
    fn history(transactions: &[(Fate, Vec<Op>)], last: &[&[u64]]) -> Vec<Transaction> {
        let at_once = |(fate, ops): &(Fate, Vec<Op>)| Transaction {
            began: 0,
            ended: if *fate == Fate::Unknown { u64::MAX } else { 1 },
            fate: *fate,
            ops: ops.clone(),
        };
        let mut all: Vec<_> = transactions.iter().map(at_once).collect();
        let ops = (0..).zip(last).map(|(list, read)| Op::Read(list, read.to_vec())).collect();
        all.push(Transaction { began: 2, ended: 3, fate: Fate::Committed, ops });
        all
    }

    fn read(list: u64, values: &[u64]) -> Op {
        Op::Read(list, values.to_vec())
    }

    use Fate::{Committed as C, Dropped as D, Unknown as U};
    use Op::Append as A;

    #[test]
    fn histories_that_have_an_order_are_taken() {
        for (transactions, last) in [
            (vec![], vec![&[][..]]),
            (
                vec![(C, vec![A(0, 1), read(0, &[1]), A(0, 2)]), (C, vec![read(0, &[])])],
                vec![&[1, 2]],
            ),
            // Each waits for neither: the reader comes first.
            (vec![(C, vec![read(0, &[]), A(1, 1)]), (C, vec![A(0, 2)])], vec![&[2][..], &[1]]),
            (vec![(D, vec![A(0, 1), read(0, &[1])]), (U, vec![A(0, 2)])], vec![&[2][..]]),
            (vec![(U, vec![A(0, 2), A(1, 3)])], vec![&[][..], &[]]),
        ] {
            check(&history(&transactions, &last)).unwrap();
        }
    }

    #[test]
    fn what_has_none_is_named() {
        for (why, transactions, last) in [
            (
                "write skew",
                vec![(C, vec![read(0, &[]), A(1, 1)]), (C, vec![read(1, &[]), A(0, 2)])],
                vec![&[2][..], &[1]],
            ),
            (
                "a lost update",
                vec![(C, vec![read(0, &[]), A(0, 1)]), (C, vec![read(0, &[]), A(0, 2)])],
                vec![&[1, 2][..]],
            ),
            // Fekete, O'Neil and O'Neil: only with the reader there is no order.
            (
                "an anomaly of a reader",
                vec![
                    (C, vec![read(0, &[]), read(1, &[]), A(0, 1)]),
                    (C, vec![A(1, 2)]),
                    (C, vec![read(0, &[]), read(1, &[2])]),
                    (C, vec![read(0, &[1]), read(1, &[])]),
                ],
                vec![&[1][..], &[2]],
            ),
            (
                "two moments",
                vec![(C, vec![read(0, &[]), read(0, &[1])]), (C, vec![A(0, 1)])],
                vec![&[1][..]],
            ),
            (
                "two moments of one given up",
                vec![(D, vec![read(0, &[1]), read(1, &[])]), (C, vec![A(0, 1), A(1, 2)])],
                vec![&[1][..], &[2]],
            ),
            (
                "half of one",
                vec![(C, vec![A(0, 1), A(0, 2)]), (C, vec![read(0, &[1])])],
                vec![&[1, 2][..]],
            ),
            ("dropped and there", vec![(D, vec![A(0, 1)])], vec![&[1][..]]),
            ("dropped and read", vec![(D, vec![A(0, 1)]), (C, vec![read(0, &[1])])], vec![&[][..]]),
            ("committed and gone", vec![(C, vec![A(0, 1)])], vec![&[][..]]),
            ("torn", vec![(U, vec![A(0, 1), A(1, 2)])], vec![&[1][..], &[]]),
            ("twice", vec![(C, vec![A(0, 1)])], vec![&[1, 1][..]]),
            ("nobody's", vec![], vec![&[1][..]]),
            ("not its own", vec![(C, vec![A(0, 1), read(0, &[])])], vec![&[1][..]]),
        ] {
            assert!(check(&history(&transactions, &last)).is_err(), "{why}");
        }
        // What had ended must be seen by who began later.
        let mut late = history(&[(C, vec![A(0, 1)]), (C, vec![read(0, &[])])], &[&[1]]);
        check(&late).unwrap();
        (late[1].began, late[1].ended) = (2, 3);
        (late[2].began, late[2].ended) = (4, 5);
        assert!(check(&late).unwrap_err().contains("ended before"));
    }
}
