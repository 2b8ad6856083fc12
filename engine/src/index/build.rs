//! Building an index over the documents from before it, while writes go on.
//!
//! ```text
//! keyspace 2, a record for each index being built
//! key    keyspace of the index, u32 big-endian
//! value  | all u8 | key: 16 | documents: u64 LE |     all 1: every document was looked at
//! ```
//!
//! What must stay true:
//! * from the commit on that makes the index, every write keeps it. So what the build
//!   has to add are the entries of documents as they are when it comes to them, under
//!   the commit lock: then it cannot add what a write has just removed;
//! * the entries of a piece and how far it came are one commit: a crash anywhere leaves
//!   the build at the end of its last whole piece;
//! * `ready` is set only in a state whose record says `all`. A unique value found twice,
//!   or a document of too many entries, ends the build as `failed`, with the reason and
//!   without entries;
//! * a piece is bounded in documents and in bytes, and is read once before the commit
//!   lock is taken, so that the lock is not held over the disk. If nothing was committed
//!   since, it is not even computed again.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use lsm::{Batch, Direction, KeyspaceId, Snapshot};
use platform::advice::RESTORE;
use proto::doc::Doc;
use proto::{Key, Status};

use super::entry::{Claim, Entry};
use super::{Index, Phase, keep};
use crate::audit::Deed;
use crate::auth::Wanted;
use crate::catalog::{Catalog, Store};
use crate::{Engine, Refusal};

/// Where the progress of builds is.
pub(crate) const BUILDS: KeyspaceId = KeyspaceId(2);

/// Of one piece: documents; bytes of them and their entries, about.
const PIECE_DOCUMENTS: usize = 128;
const PIECE_BYTES: usize = 256 << 10;

/// How far a build has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Every document was looked at.
    pub(crate) all: bool,
    /// The last document looked at; meaningless if none was.
    pub(crate) last: Key,
    /// Documents looked at.
    pub(crate) documents: u64,
}

impl Progress {
    /// The record's key.
    pub(crate) fn key(index: KeyspaceId) -> [u8; 4] {
        index.0.to_be_bytes()
    }

    pub(crate) fn encode(&self) -> [u8; 25] {
        let mut bytes = [0; 25];
        bytes[0] = u8::from(self.all);
        bytes[1..17].copy_from_slice(&self.last.to_bytes());
        bytes[17..].copy_from_slice(&self.documents.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Progress> {
        let bytes: &[u8; 25] = bytes.try_into().ok()?;
        let (all, rest) = bytes.split_first()?;
        let (key, documents) = rest.split_first_chunk::<16>()?;
        (*all <= 1).then_some(Progress {
            all: *all == 1,
            last: Key::from_bytes(*key),
            documents: u64::from_le_bytes(documents.try_into().ok()?),
        })
    }
}

/// How far the build of an index has come. A record that cannot be read says nothing:
/// the build begins anew, which only takes longer.
pub(crate) fn progress(snapshot: &Snapshot, index: &Index) -> Result<Progress, Refusal> {
    let bytes = snapshot.get(BUILDS, &Progress::key(index.keyspace))?;
    Ok(bytes.as_deref().and_then(Progress::decode).unwrap_or_default())
}

/// What one piece adds.
#[derive(Default)]
struct Piece {
    entries: Vec<Entry>,
    claims: Vec<(Claim, Key)>,
    arrays: Vec<Key>,
    progress: Progress,
}

/// What became of a piece.
enum Outcome {
    /// There may be more.
    Further,
    /// All documents are in the index.
    All,
    /// It cannot be built.
    Failed(String),
    /// The index, or its store, is not there any more.
    Gone,
}

impl Engine {
    /// One piece of the build of an index; `false` if there is none that could be built
    /// further. Indexes take turns: `last` is the keyspace of the one that was served
    /// last. What ails one keeps no other from its turn; the first refusal is answered.
    pub(crate) fn build_piece(&self, last: &mut u32) -> (bool, Result<(), Refusal>) {
        let catalog = self.catalogs.read();
        let mut wanted: Vec<(&str, &Arc<Index>)> = catalog
            .stores
            .iter()
            .flat_map(|(name, store)| store.indexes.iter().map(move |index| (&**name, index)))
            .filter(|(_, index)| index.phase == Phase::Building)
            .collect();
        wanted.sort_unstable_by_key(|(_, index)| (index.keyspace.0 <= *last, index.keyspace.0));
        let mut ailing = Ok(());
        for (name, index) in wanted {
            let mut documents = PIECE_DOCUMENTS;
            let built = loop {
                match self.build_some(&catalog, name, index, documents) {
                    Err(large) if large.status == Status::BatchTooLarge && documents > 1 => {
                        documents /= 2;
                    }
                    built => break built,
                }
            };
            match built {
                Ok(()) => {
                    *last = index.keyspace.0;
                    return (true, ailing);
                }
                Err(refusal) => ailing = ailing.and(Err(refusal)),
            }
        }
        (false, ailing)
    }

    /// A piece of so many documents at most.
    fn build_some(
        &self,
        catalog: &Catalog,
        name: &str,
        index: &Index,
        documents: usize,
    ) -> Result<(), Refusal> {
        let ahead = match catalog.stores.get(name) {
            Some(store) => {
                let snapshot = self.lsm.snapshot()?;
                Some((snapshot.lsn(), piece(store, index, &snapshot, documents)?))
            }
            None => None,
        };
        let mut outcome = Outcome::Gone;
        self.lsm.commit_with(|latest| {
            let store = match self.catalogs.resolve(catalog, latest, Wanted::own(name)) {
                Ok(store) => store,
                Err(refusal) if refusal.status == Status::UnknownStore => {
                    return Ok((Batch::new(), ()));
                }
                Err(refusal) => return Err(refusal),
            };
            let same = |other: &&Arc<Index>| {
                other.keyspace == index.keyspace && other.phase == Phase::Building
            };
            if !store.indexes.iter().any(|other| same(&other)) {
                return Ok::<_, Refusal>((Batch::new(), ()));
            }
            let piece = match ahead {
                Some((lsn, piece)) if lsn == latest.lsn() => piece,
                _ => piece(&store, index, latest, documents)?,
            };
            let batch;
            (batch, outcome) = match piece {
                Ok(piece) => commit(&store, index, latest, piece)?,
                Err(reason) => (Batch::new(), Outcome::Failed(reason)),
            };
            Ok((batch, ()))
        })?;
        match outcome {
            Outcome::Further | Outcome::Gone => {}
            Outcome::All => self.end_build(name, index, Phase::Ready)?,
            Outcome::Failed(reason) => self.end_build(name, index, Phase::Failed(reason))?,
        }
        Ok(())
    }

    fn end_build(&self, store: &str, index: &Index, phase: Phase) -> Result<(), Refusal> {
        self.catalogs.change(&self.lsm, &Deed::unseen(), |draft| {
            draft.end_build(store, index.keyspace, phase);
            Ok(())
        })
    }
}

/// The next documents of a build and their entries, or why it cannot go on.
fn piece(
    store: &Store,
    index: &Index,
    snapshot: &Snapshot,
    most: usize,
) -> Result<Result<Piece, String>, Refusal> {
    let mut progress = progress(snapshot, index)?;
    let mut piece = Piece { progress, ..Piece::default() };
    if progress.all {
        return Ok(Ok(piece));
    }
    let last = progress.last.to_bytes();
    let low = if progress.documents > 0 { Bound::Excluded(&last[..]) } else { Bound::Unbounded };
    let high = Bound::Unbounded;
    let mut cursor = snapshot.range(store.keyspace, low, high, Direction::Forward)?;
    let (mut documents, mut bytes) = (0, 0);
    progress.all = true;
    while let Some((key, document)) = cursor.next()? {
        let key: [u8; 16] = key.try_into().map_err(|_| {
            let message = format!("a key that has not 16 bytes stands among documents; {RESTORE}");
            Refusal::new(Status::Corrupt, message)
        })?;
        let key = Key::from_bytes(key);
        let all = match index.definition.entries(key, Doc::trusted(document)) {
            Ok(all) => all,
            Err(many) => return Ok(Err(keep::too_many(index, key, many).message)),
        };
        bytes += document.len();
        bytes += all.entries.iter().map(|e| 64 + e.key.len() + e.value.len()).sum::<usize>();
        piece.entries.extend(all.entries);
        piece.claims.extend(all.claims.into_iter().map(|claim| (claim, key)));
        if all.arrays {
            piece.arrays.push(key);
        }
        documents += 1;
        progress.last = key;
        progress.documents += 1;
        if documents == most || bytes >= PIECE_BYTES {
            progress.all = false;
            break;
        }
    }
    piece.progress = progress;
    Ok(Ok(piece))
}

/// The batch of a piece, in the state it was computed from.
fn commit(
    store: &Store,
    index: &Index,
    latest: &Snapshot,
    piece: Piece,
) -> Result<(Batch, Outcome), Refusal> {
    let mut held = BTreeMap::new();
    for (claim, key) in &piece.claims {
        let other = match held.insert(&claim.full, *key) {
            Some(other) => Some(other),
            None => keep::holder(index, store, latest, &claim.fields, &claim.full, |other| {
                other == *key
            })?,
        };
        if let Some(other) = other {
            let why = keep::conflict(index, store, latest, *key, other).message;
            return Ok((Batch::new(), Outcome::Failed(why)));
        }
    }
    let mut batch = Batch::new();
    for Entry { key, value } in &piece.entries {
        // Some are there: a write was quicker.
        if !latest.contains(index.keyspace, key)? {
            batch.put_new(index.keyspace, key, value);
        }
    }
    for key in &piece.arrays {
        if !latest.contains(index.arrays(), &key.to_bytes())? {
            batch.put_new(index.arrays(), &key.to_bytes(), &[]);
        }
    }
    let record = Progress::key(index.keyspace);
    batch.put(BUILDS, &record, &piece.progress.encode());
    let outcome = if piece.progress.all { Outcome::All } else { Outcome::Further };
    Ok((batch, outcome))
}
