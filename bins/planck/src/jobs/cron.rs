//! The timetable of `service.yaml`: each entry's job, when its time has come.
//!
//! What must stay true: what has fired is noted by the commit that makes the job, and what is
//! done next follows from that note and the clock: a crash or a restart at any point neither
//! loses a firing nor doubles it. An entry that is new, or says something else than before,
//! begins with its next time.

use super::{AFTER_FAILURE, NAP, Shared, now_millis};
use crate::config::Service;
use crate::config::service::Missed;
use crate::config::times::{Step, Times};
use crate::service::Stop;
use engine::{CronEntry, Engine, Refusal};
use proto::NewJob;
use std::time::Duration;

/// An entry, and what it says of when.
pub struct Entry {
    entry: CronEntry,
    times: Times,
    missed: Missed,
}

/// Those of a service.
///
/// # Errors
/// Which is none, and why.
pub fn entries(engine: &Engine, service: &Service) -> Result<Vec<Entry>, Stop> {
    let of = |cron: &crate::config::service::Cron| {
        let times = Times::parse(&cron.schedule.0, &cron.timezone.0)?;
        let mut job = NewJob::route(&cron.route.0);
        if let Some(payload) = &cron.payload {
            job = job.text(payload.0.clone());
        }
        let job = job.encode().map_err(|e| e.to_string())?;
        let when = format!("{} {}", cron.schedule, cron.timezone);
        let entry = engine.cron_entry(&cron.name.0, &when, &job).map_err(|r| r.message)?;
        Ok(Entry { entry, times, missed: cron.missed })
    };
    let all = service.cron.iter().map(|cron| {
        of(cron).map_err(|why: String| {
            Stop::config(format!("service.yaml: cron: the entry '{}': {why}", cron.name))
        })
    });
    all.collect()
}

/// Minds the timetable until the end.
pub fn mind(shared: &Shared, table: Vec<Entry>) {
    let mut told = String::new();
    loop {
        let nap = match look(shared, &table) {
            Ok(first) => {
                told.clear();
                let left = first.saturating_sub(now_millis(&shared.clock));
                Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(NAP)
            }
            Err(refusal) => {
                if told != refusal.message {
                    tracing::error!("the timetable cannot be kept: {refusal}");
                    told = refusal.message;
                }
                AFTER_FAILURE
            }
        };
        if !shared.bell.sleep(nap) {
            return;
        }
    }
}

/// Does what is to be done about all entries; the time of the next one.
fn look(shared: &Shared, table: &[Entry]) -> Result<i64, Refusal> {
    let mut first = i64::MAX;
    if !shared.engine.leads() {
        // What the primary fires is noted there.
        return Ok(first);
    }
    for Entry { entry, times, missed } in table {
        loop {
            let now = now_millis(&shared.clock);
            let Some(last) = shared.engine.cron_last(entry)? else {
                shared.engine.note_cron(entry, now, false)?;
                continue;
            };
            match times.step(last, now, *missed) {
                Step::Fire(at) => drop(shared.engine.note_cron(entry, at, true)?),
                Step::Skip(until, fires) => {
                    tracing::warn!(entry = entry.name, fires, "times of the timetable were missed");
                    shared.engine.note_cron(entry, until, fires)?;
                }
                Step::Wait(next) => {
                    first = first.min(next);
                    break;
                }
                Step::Never => break,
            }
        }
    }
    Ok(first)
}
