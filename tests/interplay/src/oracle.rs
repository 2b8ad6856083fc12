//! Whether everything that was told is so: the serial order of the commits, carried out again
//! on the model.
//!
//! Invariants:
//! * each commit of the log is somebody's, and of one only; carried out in their order, each
//!   step of each transaction is answered as it was;
//! * what only read, or took no effect, saw the state behind one commit, and none before
//!   what had been acknowledged, or shown by any answer, when it began;
//! * what may be lost is what was promised to nobody.

use std::collections::{BTreeMap, BTreeSet};

use engine::Lsn;
use proto::Reply;

use crate::model::{Event, JOBS, Places, State, Work};
use crate::plan::Step;

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It took effect, by that commit.
    Committed(Lsn),
    /// It took no effect, and what it saw was told.
    Read,
    /// It took no effect, and nobody was told anything.
    Dropped,
    /// It may have taken effect.
    Unknown,
}

/// How a job ended with a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobDone {
    /// Its key.
    pub key: u128,
    /// It was given up.
    pub dead: bool,
}

/// What had been told to anybody, at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The last commit.
    pub commit: Lsn,
    /// How many transactions: they are numbered as they are told.
    pub transactions: u64,
}

/// One transaction.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Whose, for people.
    pub whose: String,
    /// Each step, and the reply to it.
    pub steps: Vec<(Step, Vec<u8>)>,
    /// What was known when it began.
    pub since: Known,
    /// Its number among those that were told, once it is.
    pub told: u64,
    /// What became of it.
    pub fate: Fate,
    /// The job that went with it.
    pub job: Option<JobDone>,
}

/// What the log says of a commit, where that is known.
pub type Found = BTreeMap<Lsn, Vec<Event>>;

/// See the module.
#[derive(Default)]
pub struct Oracle {
    /// The state behind commit `at`.
    pub state: State,
    /// The last commit that was carried out.
    pub at: Lsn,
    open: Vec<Segment>,
    /// Commits of the service's own: stores, indexes, users, jobs that are put off.
    own: BTreeSet<Lsn>,
    /// What watchers are told of each commit, and which events besides may be.
    pub history: BTreeMap<Lsn, (Vec<Event>, Places)>,
    /// The state behind each commit so far.
    states: BTreeMap<Lsn, State>,
    /// How many transactions were found to be right: that took effect, that did not.
    pub checked: [u64; 2],
}

impl Segment {
    /// Whether it began when `other` had been told, and so sees what that has seen.
    fn began_behind(&self, other: &Segment) -> bool {
        other.fate == Fate::Read && other.told <= self.since.transactions
    }

    fn carry_out(&self, on: &State) -> Result<Work, String> {
        let mut work = Work::on(on);
        for (at, (step, packet)) in self.steps.iter().enumerate() {
            // What was not told, or of which it is not known whether it was done, has none.
            let reply = Reply::decode(packet).ok().map(|(_, reply)| reply);
            work.step(step, reply.as_ref())
                .map_err(|why| format!("{}, step {}: {why}", self.whose, at + 1))?;
        }
        if let Some(job) = &self.job {
            let id = work.state.jobs.remove(&job.key);
            let id = id.ok_or_else(|| format!("{}: its job was not there", self.whose))?;
            if job.dead {
                work.state.dead.insert(job.key, id);
            }
        }
        Ok(work)
    }
}

impl Segment {
    /// With the key that was made for what it inserts, if it was not told: as the log has it.
    fn with_key_of(&self, seen: &[Event]) -> Segment {
        let mut segment = self.clone();
        for (step, packet) in &mut segment.steps {
            let (store, key) = match step {
                Step::Insert(store, key @ None, _) if packet.is_empty() => (*store, key),
                Step::Fire(_, key @ None) => (JOBS, key),
                _ => continue,
            };
            *key = seen.iter().find(|event| event.store == store).map(|event| event.key);
        }
        segment
    }
}

impl Oracle {
    /// Adds transactions that have ended.
    pub fn add(&mut self, segments: Vec<Segment>) {
        self.open.extend(segments);
    }

    /// Adds commits of the service's own.
    pub fn own(&mut self, commits: impl IntoIterator<Item = Lsn>) {
        self.own.extend(commits);
    }

    /// The last commit that somebody was told of.
    pub fn last_told(&self) -> Lsn {
        let told = self.open.iter().filter_map(|segment| match segment.fate {
            Fate::Committed(lsn) => Some(lsn),
            _ => None,
        });
        told.max().unwrap_or(0).max(self.own.last().copied().unwrap_or(0)).max(self.at)
    }

    /// Carries out all commits up to `upto`. `found`: what the log says, where the machine
    /// ended before: then what is not in it is lost, and what was told of that too if
    /// `forgives`. All that was added is over.
    ///
    /// # Errors
    /// What is not so.
    pub fn settle(
        &mut self,
        upto: Lsn,
        found: Option<&Found>,
        forgives: bool,
    ) -> Result<(), String> {
        if upto < self.at {
            if !forgives {
                return Err(format!("the last commit is {upto}, and {} was told", self.at));
            }
            // What came behind it is lost.
            self.history.split_off(&(upto + 1));
            self.states.split_off(&(upto + 1));
            self.state =
                self.states.last_entry().map(|last| last.get().clone()).unwrap_or_default();
            self.at = upto;
        }
        let mut committed = BTreeMap::new();
        let (mut reads, mut unknown) = (Vec::new(), Vec::new());
        for segment in std::mem::take(&mut self.open) {
            match segment.fate {
                Fate::Committed(lsn) if lsn > upto => {
                    if found.is_none() || !forgives {
                        return Err(format!(
                            "{} was committed as {lsn}, and the last commit is {upto}",
                            segment.whose
                        ));
                    }
                }
                Fate::Committed(lsn) => {
                    if lsn <= segment.since.commit {
                        return Err(format!(
                            "{} was committed as {lsn}, and had begun behind {}",
                            segment.whose, segment.since.commit
                        ));
                    }
                    if let Some(other) = committed.insert(lsn, segment) {
                        return Err(format!("{} is another's commit {lsn} too", other.whose));
                    }
                }
                Fate::Read | Fate::Dropped if !segment.steps.is_empty() => reads.push(segment),
                Fate::Unknown => unknown.push(segment),
                Fate::Read | Fate::Dropped => {}
            }
        }
        self.look(&mut reads);
        while self.at < upto {
            let lsn = self.at + 1;
            let is_own = self.own.remove(&lsn);
            let segment = match committed.remove(&lsn) {
                Some(_) if is_own => return Err(format!("commit {lsn} is the service's own too")),
                None if !is_own => self.find(lsn, found, &mut unknown)?,
                other => other,
            };
            let (mut events, mut besides) = (Vec::new(), BTreeSet::new());
            let is_somebodys = segment.is_some();
            if let Some(segment) = segment {
                if let Some(before) = reads.iter().find(|read| segment.began_behind(read)) {
                    return Err(format!(
                        "{} was committed as {lsn}, and had begun behind {}, which saw no state \
                         before that",
                        segment.whose, before.whose
                    ));
                }
                let work = segment.carry_out(&self.state);
                let work = work.map_err(|why| format!("commit {lsn}: {why}"))?;
                besides = work.came_and_went(&self.state);
                (self.state, events) = work.end(&self.state, lsn);
                self.checked[0] += 1;
            }
            if is_somebodys && let Some(found) = found {
                let seen = found.get(&lsn).cloned().unwrap_or_default();
                alike(&events, &besides, &seen).map_err(|why| format!("commit {lsn}: {why}"))?;
            }
            self.history.insert(lsn, (events, besides));
            self.states.insert(lsn, self.state.clone());
            self.at = lsn;
            self.look(&mut reads);
        }
        self.own.retain(|lsn| *lsn > upto);
        if found.is_some() {
            self.own.clear();
        }
        for segment in reads {
            // Nobody was told, or it may be of what is lost.
            if segment.fate == Fate::Dropped && found.is_some() || found.is_some() && forgives {
                continue;
            }
            let why = segment.carry_out(&self.state).err();
            return Err(format!(
                "{} saw no state there was behind {}: {}",
                segment.whose,
                segment.since.commit,
                why.unwrap_or_else(|| "it saw only one before that".to_owned())
            ));
        }
        Ok(())
    }

    /// Whose commit it is that nobody was told of.
    fn find(
        &self,
        lsn: Lsn,
        found: Option<&Found>,
        unknown: &mut Vec<Segment>,
    ) -> Result<Option<Segment>, String> {
        let Some(found) = found else { return Err(format!("commit {lsn} is nobody's")) };
        let seen = found.get(&lsn).cloned().unwrap_or_default();
        let is_it = |segment: &Segment| {
            segment.carry_out(&self.state).is_ok_and(|work| {
                let besides = work.came_and_went(&self.state);
                let (_, events) = work.end(&self.state, lsn);
                alike(&events, &besides, &seen).is_ok()
            })
        };
        // A job that is put off, an index, a store.
        let is_own = || seen.iter().all(|event| (event.store, &*event.op) == (JOBS, "update"));
        let named = unknown.iter().map(|segment| segment.with_key_of(&seen));
        let fitting = named.enumerate().find(|(_, segment)| is_it(segment));
        match fitting {
            Some((at, segment)) => {
                unknown.remove(at);
                Ok(Some(Segment { fate: Fate::Committed(lsn), ..segment }))
            }
            None if is_own() => Ok(None),
            None => Err(format!("commit {lsn} is nobody's: {seen:?}")),
        }
    }

    /// Those that saw the state as it is here are right; but not before all that were told
    /// before they began.
    fn look(&mut self, reads: &mut Vec<Segment>) {
        let (state, at) = (&self.state, self.at);
        let before = reads.len();
        reads.sort_by_key(|segment| segment.told);
        let mut later: Vec<Segment> = Vec::new();
        for segment in reads.drain(..) {
            let is_right = segment.since.commit <= at
                && !later.iter().any(|read| segment.began_behind(read))
                && segment.carry_out(state).is_ok();
            if !is_right {
                later.push(segment);
            }
        }
        *reads = later;
        self.checked[1] += (before - reads.len()) as u64;
    }
}

/// Whether the events of a commit are those that were seen.
///
/// # Errors
/// What is not so.
pub fn alike(events: &[Event], besides: &Places, seen: &[Event]) -> Result<(), String> {
    let mut left: Vec<&Event> = events.iter().collect();
    for event in seen {
        let Some(at) = left.iter().position(|other| is_event(other, event)) else {
            if event.op == "delete" && besides.contains(&(event.store, event.key)) {
                continue;
            }
            return Err(format!("{event:?} was told, and should be among {left:?}"));
        };
        left.swap_remove(at);
    }
    match left.first() {
        Some(event) => Err(format!("{event:?} was not told")),
        None => Ok(()),
    }
}

fn is_event(a: &Event, b: &Event) -> bool {
    let is = |a: &Option<crate::model::Row>, b: &Option<crate::model::Row>| match (a, b) {
        (Some(a), Some(b)) => a.is(*b),
        (None, None) => true,
        _ => false,
    };
    (a.store, a.key, &a.op) == (b.store, b.key, &b.op)
        && is(&a.document, &b.document)
        && is(&a.before, &b.before)
}
