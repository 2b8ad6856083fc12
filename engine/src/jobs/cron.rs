//! Firings of a timetable.
//!
//! What must stay true: a firing becomes a job by the commit that notes it, and none that was
//! noted, or lies before one that was, becomes one again: neither a crash nor a restart makes
//! it come twice, or not at all. When entries fire, their owner knows.

use proto::Key;
use proto::doc::{Doc, DocBuf, Value};

use super::{CRON, JOBS, NewJob};
use crate::auth::Wanted;
use crate::patience::Patience;
use crate::{Engine, Refusal};

/// An entry of a timetable.
#[derive(Clone, Debug)]
pub struct CronEntry {
    /// By which it is known over restarts.
    pub name: String,
    /// What it says of when: noted, so that one which says something else begins anew.
    pub when: String,
    /// What fires.
    pub job: NewJob,
}

/// The key of what is noted of an entry: FNV-1a of its name, of 128 bits.
fn key_of(name: &str) -> Key {
    let mut hash = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    for byte in name.bytes() {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    Key(hash)
}

impl CronEntry {
    fn last(&self, doc: Doc<'_>) -> Option<i64> {
        let same = |field: &str, text: &str| doc.get(field).and_then(|v| v.as_str()) == Some(text);
        match doc.get("last") {
            Some(Value::DateTime(last)) if same("name", &self.name) && same("when", &self.when) => {
                Some(last)
            }
            _ => None,
        }
    }
}

impl Engine {
    /// An entry that calls a route, or what is wrong with its job, a document as of Schedule.
    ///
    /// # Errors
    /// As of that, or nobody runs jobs here.
    pub fn cron_entry(&self, name: &str, when: &str, job: &[u8]) -> Result<CronEntry, Refusal> {
        let mut job = NewJob::parse(job, self.jobs.options()?)?;
        job.cron = Some(name.to_owned());
        Ok(CronEntry { name: name.to_owned(), when: when.to_owned(), job })
    }

    /// Up to when the firings of an entry are noted, in milliseconds since 1970; `None`:
    /// nothing is, or it said something else then.
    ///
    /// # Errors
    /// The storage's.
    pub fn cron_last(&self, entry: &CronEntry) -> Result<Option<i64>, Refusal> {
        let view = self.view(Wanted::own(CRON))?;
        let noted = view.snapshot.get(view.keyspace, &key_of(&entry.name).to_bytes())?;
        Ok(noted.and_then(|noted| entry.last(Doc::trusted(&noted))))
    }

    /// Notes the firings of an entry up to a time, and schedules its job, due then, if it
    /// `fires`; `None`: it does not, or that was noted already.
    ///
    /// # Errors
    /// As of Schedule. Nothing is noted then.
    pub fn note_cron(
        &self,
        entry: &CronEntry,
        until: i64,
        fires: bool,
    ) -> Result<Option<Key>, Refusal> {
        let key = key_of(&entry.name);
        let mut doc = DocBuf::new();
        doc.push("name", &entry.name).push("when", &entry.when);
        doc.push("last", Value::DateTime(until));
        let document = crate::ops::finished(doc);
        let mut job = entry.job.clone();
        job.due_at(until);
        self.by_itself(|within| {
            let wanted = Wanted::own(CRON).part_of(Some(within));
            let is_new = self.change(wanted, Patience::ENDLESS, |change| {
                let noted = change.get(key)?;
                let last = noted.and_then(|noted| entry.last(Doc::trusted(&noted)));
                if last.is_some_and(|last| last >= until) {
                    return Ok(false);
                }
                change.put(key, &document);
                Ok(true)
            })?;
            if !(is_new && fires) {
                return Ok(None);
            }
            let wanted = Wanted::own(JOBS).part_of(Some(within));
            self.add_job(within, wanted, &job, "cron", Patience::ENDLESS).map(Some)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_names_stay_as_they_are() {
        assert_eq!(key_of("").0, 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(key_of("a").0, 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        assert_ne!(key_of("nightly"), key_of("weekly"));
    }
}
