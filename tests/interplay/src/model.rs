//! What the stores hold, as simply as it can be said, and what each step does to it.
//!
//! Invariant: shares no code with the engine but the packets it speaks.

use std::collections::{BTreeMap, BTreeSet};

use engine::Lsn;
use proto::doc::{Doc, DocBuf};
use proto::{Reply, Status};

use crate::plan::{EVERY, Fields, Step, TICK};

/// The stores that guests and clients use.
pub const STORES: [&str; 3] = ["a", "b", "c"];
/// The one whose field `u` is unique.
pub const UNIQUE: usize = 1;
/// The one that does not keep what its documents were before.
pub const FORGETS: usize = 2;

/// Where, behind them, the jobs stand that wait.
pub const JOBS: usize = 3;
/// And those that were given up.
pub const DEAD: usize = 4;

/// A document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Indexed.
    pub n: i64,
    /// Indexed, and unique in one store.
    pub u: i64,
    /// No two steps write the same.
    pub v: i64,
    /// How often it was counted up.
    pub m: i64,
    /// The commit that wrote it; 0: the transaction that is carried out.
    pub version: Lsn,
}

/// A job that waits: what it is known by in its script.
pub type JobId = u64;

/// All there is, after one commit.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The documents of each store, by their keys.
    pub stores: [BTreeMap<u128, Row>; 3],
    /// The jobs that wait, by their keys.
    pub jobs: BTreeMap<u128, JobId>,
    /// Those that were given up.
    pub dead: BTreeMap<u128, JobId>,
    /// When the timetable has fired last, in milliseconds.
    pub fired: i64,
}

/// What a commit did to a document, as a watcher is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which of [`STORES`].
    pub store: usize,
    /// Its key.
    pub key: u128,
    /// `insert`, `update`, `delete`.
    pub op: String,
    /// As it is now.
    pub document: Option<Row>,
    /// As it was.
    pub before: Option<Row>,
}

/// Documents, by their stores and keys.
pub type Places = BTreeSet<(usize, u128)>;

/// A transaction that is carried out on a state.
pub struct Work {
    /// As it is so far.
    pub state: State,
    touched: Places,
    savepoints: BTreeMap<u64, (State, Places)>,
    /// The number of the last one; none is given twice.
    last: u64,
}

impl Row {
    /// As it is stored.
    pub fn to_bson(self) -> Vec<u8> {
        let mut doc = DocBuf::new();
        doc.push("n", self.n).push("u", self.u).push("v", self.v).push("m", self.m);
        doc.finish().expect("four numbers are a document")
    }

    /// A stored one; versions are not in it.
    pub fn of(document: &[u8]) -> Option<Row> {
        let doc = Doc::parse(document).ok()?;
        let field = |name| doc.get(name).and_then(|value| value.as_i64());
        let [n, u, v, m] = [field("n")?, field("u")?, field("v")?, field("m")?];
        Some(Row { n, u, v, m, version: 0 })
    }

    /// The same document, of whatever version.
    pub fn is(self, other: Row) -> bool {
        Row { version: 0, ..self } == Row { version: 0, ..other }
    }
}

impl Fields {
    /// As a document that was just made.
    pub fn row(self) -> Row {
        Row { n: self.n, u: self.u, v: self.v, m: 0, version: 0 }
    }
}

/// Whether a reply is no statement about documents: the disk failed, or the store refuses
/// writes since it did.
pub fn is_fault(status: Status) -> bool {
    matches!(status, Status::ReadOnly | Status::Io | Status::Busy | Status::Corrupt)
}

impl Work {
    /// Begins on a state.
    pub fn on(state: &State) -> Work {
        let (touched, savepoints) = (BTreeSet::new(), BTreeMap::new());
        Work { state: state.clone(), touched, savepoints, last: 0 }
    }

    /// The state that its commit makes, and what watchers are told of it: what must be, and
    /// of what may be told besides (documents that came and went in it).
    pub fn end(mut self, before: &State, lsn: Lsn) -> (State, Vec<Event>) {
        let mut events = Vec::new();
        for (store, key) in &self.touched {
            let was = before.stores[*store].get(key).copied();
            let now = self.state.stores[*store].get_mut(key).map(|row| {
                row.version = lsn;
                *row
            });
            let op = match (was, now) {
                (None, Some(_)) => "insert",
                (Some(_), Some(_)) => "update",
                (Some(_), None) => "delete",
                (None, None) => continue,
            };
            let before = was.filter(|_| *store != FORGETS);
            events.push(Event { store: *store, key: *key, op: op.into(), document: now, before });
        }
        let of = |store, op: &str, key: &u128| Event {
            store,
            key: *key,
            op: op.to_owned(),
            document: None,
            before: None,
        };
        let State { jobs, dead, .. } = &self.state;
        let more = |all: &BTreeMap<u128, JobId>, fewer: &BTreeMap<u128, JobId>| {
            all.keys().filter(|key| !fewer.contains_key(key)).copied().collect::<Vec<_>>()
        };
        events.extend(more(jobs, &before.jobs).iter().map(|key| of(JOBS, "insert", key)));
        events.extend(more(&before.jobs, jobs).iter().map(|key| of(JOBS, "delete", key)));
        events.extend(more(dead, &before.dead).iter().map(|key| of(DEAD, "insert", key)));
        (self.state, events)
    }

    /// Keys that it wrote, and that were there neither before nor after.
    pub fn came_and_went(&self, before: &State) -> Places {
        let there =
            |state: &State, (store, key): &(usize, u128)| state.stores[*store].contains_key(key);
        let gone = |place: &&(usize, u128)| !there(before, place) && !there(&self.state, place);
        self.touched.iter().filter(gone).copied().collect()
    }

    /// Carries out one step; `reply`: what was answered, if it is known.
    ///
    /// # Errors
    /// What was answered is not what is so.
    pub fn step(&mut self, step: &Step, reply: Option<&Reply<'_>>) -> Result<(), String> {
        if let Some(Reply::Error { status, .. }) = reply
            && is_fault(*status)
        {
            return Ok(());
        }
        let told = |what: String| match reply {
            Some(reply) => Err(format!("{step:?} was answered {}, not {what}", shown(reply))),
            None => Ok(()),
        };
        match step {
            Step::Read(store, key) => match (self.get(*store, *key), reply) {
                (Some(row), Some(Reply::Rows(rows))) if is_rows(rows, [(*key, row)]) => Ok(()),
                (None, Some(Reply::Error { status: Status::NotFound, .. })) => Ok(()),
                (row, _) => told(format!("{row:?}")),
            },
            Step::Version(store, key) => match (self.get(*store, *key), reply) {
                (Some(row), Some(Reply::Versioned { version, document }))
                    if *version == row.version
                        && Row::of(document).is_some_and(|it| it.is(row)) =>
                {
                    Ok(())
                }
                (None, Some(Reply::Error { status: Status::NotFound, .. })) => Ok(()),
                (row, _) => told(format!("{row:?}")),
            },
            Step::Insert(store, key, fields) => {
                let key = match (key, reply) {
                    (Some(key), _) => *key,
                    (None, Some(Reply::Key(key))) => key.0,
                    // Which key it would have had does not matter.
                    (None, _) => u128::MAX,
                };
                self.write(*store, key, fields.row(), false, reply).or_else(told)
            }
            Step::Put(store, key, fields) => {
                self.write(*store, *key, fields.row(), true, reply).or_else(told)
            }
            Step::Replace(store, key, fields) => match self.get(*store, *key) {
                Some(_) => self.write(*store, *key, fields.row(), true, reply).or_else(told),
                None => match reply {
                    Some(Reply::Error { status: Status::NotFound, .. }) => Ok(()),
                    _ => told("NotFound".to_owned()),
                },
            },
            Step::Delete(store, key) => match (self.get(*store, *key), reply) {
                (Some(_), None | Some(Reply::Count(1))) => {
                    self.touched.insert((*store, *key));
                    self.state.stores[*store].remove(key);
                    Ok(())
                }
                (None, Some(Reply::Error { status: Status::NotFound, .. })) => Ok(()),
                (row, _) => told(format!("of {row:?}")),
            },
            Step::All(store) => self.rows(*store, |_| true, reply).or_else(told),
            Step::Find(store, n) => self.rows(*store, |row| row.n == *n, reply).or_else(told),
            Step::Between(store, low, high) => {
                self.rows(*store, |row| (*low..=*high).contains(&row.n), reply).or_else(told)
            }
            Step::Count(store, n) => {
                let count = self.state.stores[*store].values().filter(|row| row.n >= *n).count();
                match reply {
                    Some(Reply::Count(told)) if *told == count as u64 => Ok(()),
                    _ => told(count.to_string()),
                }
            }
            Step::Newest(store) => {
                let newest = self.state.stores[*store].values().map(|row| row.v).max();
                self.rows(*store, |row| Some(row.v) == newest, reply).or_else(told)
            }
            Step::Inc(store, n) => self
                .change(*store, *n, |row| Some(Row { m: row.m + 1, ..row }), reply)
                .or_else(told),
            Step::Move(store, n, to) => {
                self.change(*store, *n, |row| Some(Row { n: *to, ..row }), reply).or_else(told)
            }
            Step::Remove(store, n) => self.change(*store, *n, |_| None, reply).or_else(told),
            Step::Savepoint => match reply {
                // Nothing was done yet that could be gone back on.
                Some(Reply::Error { status: Status::UnknownTransaction, .. }) => Ok(()),
                None | Some(Reply::Count(_)) => {
                    self.last += 1;
                    let now = (self.state.clone(), self.touched.clone());
                    self.savepoints.insert(self.last, now);
                    match reply {
                        Some(Reply::Count(number)) if *number != self.last => {
                            told(self.last.to_string())
                        }
                        _ => Ok(()),
                    }
                }
                Some(_) => told("a number".to_owned()),
            },
            Step::Rollback(number) => match (self.savepoints.get(number), reply) {
                (Some((state, touched)), None | Some(Reply::Empty)) => {
                    (self.state, self.touched) = (state.clone(), touched.clone());
                    self.savepoints.split_off(&(number + 1));
                    Ok(())
                }
                (None, None) => Ok(()),
                (
                    None,
                    Some(Reply::Error {
                        status: Status::UnknownSavepoint | Status::UnknownTransaction,
                        ..
                    }),
                ) => Ok(()),
                (found, _) => told(format!("to {}", found.is_some())),
            },
            Step::Schedule(job) => match reply {
                Some(Reply::Key(key)) => {
                    self.state.jobs.insert(key.0, job.id);
                    Ok(())
                }
                _ => told("a key".to_owned()),
            },
            Step::Take(key) => match self.state.jobs.contains_key(key) {
                true => Ok(()),
                false => Err(format!("there is no job {key}")),
            },
            Step::Fired(last) if *last == self.state.fired => Ok(()),
            Step::Fired(_) => Err(format!("it has fired last at {}", self.state.fired)),
            Step::Fire(at, key) => match (self.state.fired + EVERY == *at, key) {
                (true, Some(key)) => {
                    self.state.fired = *at;
                    self.state.jobs.insert(*key, TICK);
                    Ok(())
                }
                _ => Err(format!("it has fired last at {}", self.state.fired)),
            },
            // They end the work, or do nothing.
            Step::Commit | Step::Abort | Step::Spin(_) | Step::Trap => Ok(()),
        }
    }

    fn get(&self, store: usize, key: u128) -> Option<Row> {
        self.state.stores[store].get(&key).copied()
    }

    fn write(
        &mut self,
        store: usize,
        key: u128,
        row: Row,
        over: bool,
        reply: Option<&Reply<'_>>,
    ) -> Result<(), String> {
        let rows = &mut self.state.stores[store];
        let mut others = rows.iter().filter(|(other, _)| **other != key);
        let is_taken = !over && rows.contains_key(&key);
        let is_double = store == UNIQUE && others.any(|(_, other)| other.u == row.u);
        match reply {
            Some(Reply::Error { status: Status::KeyExists, .. }) if is_taken => Ok(()),
            Some(Reply::Error { status: Status::NotUnique, .. }) if is_double => Ok(()),
            None | Some(Reply::Key(_)) if !is_taken && !is_double => {
                rows.insert(key, row);
                self.touched.insert((store, key));
                Ok(())
            }
            None => Ok(()),
            Some(_) => Err(format!("taken {is_taken}, not unique {is_double}")),
        }
    }

    fn rows(
        &self,
        store: usize,
        wanted: impl Fn(&Row) -> bool,
        reply: Option<&Reply<'_>>,
    ) -> Result<(), String> {
        let rows = self.state.stores[store].iter().filter(|(_, row)| wanted(row));
        let rows: Vec<_> = rows.map(|(key, row)| (*key, *row)).collect();
        match reply {
            None => Ok(()),
            Some(Reply::Rows(told)) if is_rows(told, rows.iter().copied()) => Ok(()),
            Some(_) => Err(format!("{rows:?}")),
        }
    }

    fn change(
        &mut self,
        store: usize,
        n: i64,
        how: impl Fn(Row) -> Option<Row>,
        reply: Option<&Reply<'_>>,
    ) -> Result<(), String> {
        let rows = &mut self.state.stores[store];
        let chosen: Vec<u128> =
            rows.iter().filter(|(_, row)| row.n == n).map(|(key, _)| *key).collect();
        match reply {
            None => {}
            Some(Reply::Count(told)) if *told == chosen.len() as u64 => {}
            Some(_) => return Err(format!("{} changed", chosen.len())),
        }
        for key in chosen {
            self.touched.insert((store, key));
            if let Some(row) = rows.remove(&key).and_then(&how) {
                rows.insert(key, Row { version: 0, ..row });
            }
        }
        Ok(())
    }
}

fn is_rows(told: &proto::reply::Rows<'_>, rows: impl IntoIterator<Item = (u128, Row)>) -> bool {
    let mut found = BTreeMap::new();
    for (key, document) in told.iter() {
        let (Some(key), Some(row)) = (key, Row::of(document)) else { return false };
        if found.insert(key.0, row).is_some() {
            return false;
        }
    }
    let rows: BTreeMap<u128, Row> =
        rows.into_iter().map(|(key, row)| (key, Row { version: 0, ..row })).collect();
    found == rows && told.next.is_none() && told.cursor.is_none()
}

/// A reply, for people.
pub fn shown(reply: &Reply<'_>) -> String {
    match reply {
        Reply::Rows(rows) => {
            let rows = rows.iter().map(|(key, doc)| match (key, Row::of(doc)) {
                (Some(key), Some(row)) => format!("{}: {row:?}", key.0),
                _ => "a strange row".to_owned(),
            });
            format!("rows [{}]", rows.collect::<Vec<_>>().join(", "))
        }
        Reply::Versioned { version, document } => {
            format!("version {version} {:?}", Row::of(document))
        }
        other => format!("{other:?}"),
    }
}
