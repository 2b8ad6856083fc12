//! The log and its archive, frame by frame, against what was committed.
//!
//! Invariants:
//! * every frame that is handed out is the commit of its LSN, whole;
//! * archive and log together have every frame from the first one on;
//! * nothing is archived that a crash then takes back.

use std::sync::Arc;

use lsm::{Lsm, Lsn, decode};
use platform::sim::Fault;
use wal::archive::{Archive, Until};

use crate::model::Write;
use crate::plan::PLENTY;
use crate::world::{Done, Failure, World, faults};

/// Where the archive lies on its disk.
pub(crate) const ARCHIVE: &str = "archive";

impl World {
    /// `Lsm::archive_now`, and everything archived read back.
    pub(crate) fn archive_now(&mut self) -> Result<(), Failure> {
        if !self.config.archive {
            return Ok(());
        }
        match self.run("archive", Lsm::archive_now)? {
            Done::Ok(lsn) => {
                self.tell(|| format!("archived up to {lsn}"));
                // A restored store has no frame of its own before its first commit. A
                // pause after a failed copy may still be on.
                if lsn < self.acked && self.acked > self.born && !self.blame() {
                    return Err(format!("archived up to {lsn}, the last commit is {}", self.acked));
                }
            }
            Done::Crashed => return Ok(()),
            Done::Failed => self.note_poison(),
        }
        self.read_archive()
    }

    /// Reads the archive from its first frame to its last.
    pub(crate) fn read_archive(&mut self) -> Result<(), Failure> {
        if !self.config.archive {
            return Ok(());
        }
        let before = faults(&self.vault.tally());
        let done = self.archived_frames();
        match done {
            Ok(0) => Ok(()),
            Ok(last) => {
                self.tell(|| format!("the archive has all up to {last}"));
                self.mark("archive read");
                Ok(())
            }
            Err(ArchiveWrong::Answer(text)) => Err(text),
            Err(ArchiveWrong::Refused(text)) => {
                self.tell(|| format!("archive: {text}"));
                if faults(&self.vault.tally()) == before && !damaged(&self.vault.tally()) {
                    return Err(format!("the archive cannot be read: {text}"));
                }
                self.mark("archive that cannot be read, by name");
                Ok(())
            }
        }
    }

    fn archived_frames(&self) -> Result<Lsn, ArchiveWrong> {
        let refused = |error: wal::archive::Error| ArchiveWrong::Refused(error.to_string());
        let archive = match Archive::open(Arc::clone(&self.vault) as _, ARCHIVE) {
            Ok(archive) => archive,
            // Nothing was archived yet.
            Err(_) if !self.vault.files().iter().any(|f| f.starts_with(ARCHIVE)) => return Ok(0),
            Err(error) => return Err(refused(error)),
        };
        let Some((first, last)) = archive.bounds() else { return Ok(0) };
        if !damaged(&self.vault.tally()) && (first > self.born + 1 || !archive.holes().is_empty()) {
            let holes = archive.holes();
            let text = format!("the archive begins at {first} and has holes {holes:?}");
            return Err(ArchiveWrong::Answer(text));
        }
        // After damage the log may have ended earlier than the archive does.
        if last > self.model.last() && !self.damaged() {
            let text = format!("{last} is archived, the log ends at {}", self.model.last());
            return Err(ArchiveWrong::Answer(text));
        }
        if self.damaged() {
            return Ok(0);
        }
        let mut frames = archive.frames(first, Until::End, None).map_err(refused)?;
        let mut next = first;
        while let Some(frame) = frames.next().map_err(refused)? {
            self.same_frame(next, frame.lsn, frame.wall_micros, frame.payload)
                .map_err(ArchiveWrong::Answer)?;
            next += 1;
        }
        if next != last + 1 {
            let text = format!("the archive ends before {next}, its names say {last}");
            return Err(ArchiveWrong::Answer(text));
        }
        Ok(last)
    }

    /// Whether a frame is the commit that it should be.
    pub(crate) fn same_frame(
        &self,
        next: Lsn,
        lsn: Lsn,
        wall: u64,
        payload: &[u8],
    ) -> Result<(), Failure> {
        if lsn != next {
            return Err(format!("frame {lsn} where {next} should be"));
        }
        if self.model.wall(lsn) != Some(wall) {
            return Err(format!("frame {lsn} is of {wall}, not of {:?}", self.model.wall(lsn)));
        }
        let ops = decode(payload).map_err(|e| format!("frame {lsn} cannot be read: {e}"))?;
        let want = self.model.writes(lsn);
        let same = ops.clone().count() == want.len()
            && ops.zip(want).all(|(op, write)| match (op, write) {
                (lsm::Op::Put(ks, key, value), Write::Put(of, k, v)) => {
                    ks.0 == *of && key == k && value == &v[..]
                }
                (lsm::Op::Delete(ks, key), Write::Delete(of, k)) => ks.0 == *of && key == k,
                (lsm::Op::DropKeyspace(ks), Write::Drop(of)) => ks.0 == *of,
                _ => false,
            });
        if same { Ok(()) } else { Err(format!("frame {lsn} is another commit")) }
    }

    /// A reader of the log takes hold of it from here on.
    pub(crate) fn hold(&mut self, slot: usize) -> Result<(), Failure> {
        let from = self.acked + 1;
        if let Done::Ok(held) = self.run("retain", |lsm| lsm.retain("reader", from))? {
            self.holds[slot] = Some((held, from));
        }
        Ok(())
    }

    /// It reads on from where it stands.
    pub(crate) fn read_held(&mut self, slot: usize) -> Result<(), Failure> {
        let Some((held, from)) = self.holds[slot].take() else { return Ok(()) };
        let Some(kept) = held.from() else {
            if self.config.options.wal_retain_bytes >= PLENTY {
                return Err("a reader of the log was let go that held little".into());
            }
            self.mark("reader of the log let go");
            return Ok(());
        };
        if kept > from {
            return Err(format!("a reader of the log has {kept}.., it needs {from}.."));
        }
        let before = faults(&self.disk.tally());
        let durable = self.lsm().durable_lsn();
        let mut next = from;
        let read = self.lsm().frames(from).and_then(|mut frames| {
            while let Some(frame) = frames.next()? {
                if let Err(text) =
                    self.same_frame(next, frame.lsn, frame.wall_micros, frame.payload)
                {
                    return Ok(Some(text));
                }
                next += 1;
            }
            Ok(None)
        });
        match read {
            Ok(Some(text)) if self.damaged() => self.tell(|| format!("log: {text}")),
            Ok(Some(text)) => return Err(format!("the log read back: {text}")),
            Ok(None) if next <= durable => {
                return Err(format!("the log read back ends before {next}, durable is {durable}"));
            }
            Ok(None) => {
                self.mark("log read by a holder");
                held.advance(next).map_err(|e| e.to_string())?;
                self.holds[slot] = Some((held, next));
            }
            Err(error) => {
                self.tell(|| format!("log: {error}"));
                if faults(&self.disk.tally()) == before && !self.blame() {
                    return Err(format!("the log cannot be read: {error}"));
                }
                self.disk.clear_fault(Fault::Read);
                self.holds[slot] = Some((held, from));
            }
        }
        Ok(())
    }

    /// At the end: everything is archived, in the end.
    pub(crate) fn archive_all(&mut self) -> Result<(), Failure> {
        if !self.config.archive || self.damaged() || damaged(&self.vault.tally()) {
            return Ok(());
        }
        // Past any pause after a failed copy.
        self.clock.advance(std::time::Duration::from_secs(120));
        self.struck_now();
        self.archive_now()
    }
}

/// How reading the archive may disappoint.
enum ArchiveWrong {
    Answer(String),
    Refused(String),
}

/// Whether a medium has gone bad.
pub(crate) fn damaged(tally: &platform::sim::Tally) -> bool {
    tally.rotten_bits + tally.lost_writes + tally.misdirected_writes > 0
}
