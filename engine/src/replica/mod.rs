//! Replication: a server that takes writes, and others that take its commits.
//!
//! ```text
//! terms.rs      which primary made which commits, and who may follow whom
//! record.rs     what this server is, on its own disk
//! follow.rs     a page of the log: asked for, made, taken in
//! followers.rs  who follows this primary, and what is kept for them
//! lead.rs       promote, demote, fence
//! snapshot.rs   the data whole, given away        bootstrap.rs  and taken in, to begin from
//! figures.rs    what is told of all this
//! ops/position.rs   how far a server is, and waiting for it
//! ```
//!
//! What must stay true:
//! * a replica has commits of its primary alone, which are durable there: the same
//!   numbers, the same bytes. Whether a server makes commits is asked under the commit
//!   lock (`lsm/src/apply.rs`), and before that in one place of the dispatch
//!   ([`Engine::check_leads`]);
//! * who follows whom is compared at every page, by both sides: the set of servers, the
//!   terms, the place. Nothing is merged;
//! * nothing here waits for a peer or knows of a network: a page is a document, made from
//!   a document, whoever carries them. A primary keeps of a replica a hold on the log,
//!   within the bound of all holders, and nothing that grows.

mod bootstrap;
mod figures;
mod follow;
mod followers;
mod lead;
mod record;
mod snapshot;
mod terms;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use lsm::{Lsm, StoreId};
use parking_lot::Mutex;
use platform::{Clock, Disk};
use proto::Status;

use crate::error::shown;
use crate::{Engine, OpenError, Refusal};
pub use bootstrap::{Bootstrap, Offered, Place, place};
pub use figures::{FollowerFigures, LinkFigures, ReplicationFigures};
pub use follow::Took;
use followers::Followers;
use record::Record;
pub use record::ReplicaRole;
use terms::Term;

/// How a server takes part in replication.
#[derive(Clone, Debug, Default)]
pub struct ReplicaOptions {
    /// Where its primary is, for those who are told to write there: `host:port`.
    pub primary: Option<String>,
    /// What it is called at its primary, for people. At most 64 bytes.
    pub name: String,
    /// How often its data was made from a snapshot since the process was started.
    pub bootstraps: u64,
}

/// The engine's part.
pub(crate) struct Desk {
    disk: Arc<dyn Disk>,
    options: ReplicaOptions,
    /// Which servers belong together.
    set: StoreId,
    /// Held while the role changes, and while a page is taken in.
    record: Mutex<Record>,
    terms: ArcSwap<Vec<Term>>,
    followers: Followers,
    pub(crate) snapshots: snapshot::Snapshots,
    /// What came of a page and is no whole frame yet.
    partial: Mutex<Vec<u8>>,
    link: Mutex<figures::Link>,
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl Desk {
    /// Of a store that was just opened: it makes no commits if this is a replica, and
    /// those of a new term if it was promoted and did not come to begin it.
    pub(crate) fn open(
        lsm: &Lsm,
        disk: Arc<dyn Disk>,
        clock: &Arc<dyn Clock>,
        options: ReplicaOptions,
    ) -> Result<Desk, OpenError> {
        let read = Record::read(&*disk).map_err(OpenError::Replica)?;
        let never = Record { role: ReplicaRole::Primary, set: lsm.store_id(), promoted: None };
        let record = read.unwrap_or(never);
        let desk = Desk {
            disk,
            set: record.set,
            record: Mutex::new(record),
            terms: ArcSwap::from_pointee(loaded(lsm)?),
            followers: Followers::new(Arc::clone(clock)),
            snapshots: snapshot::Snapshots::default(),
            partial: Mutex::default(),
            link: Mutex::default(),
            frames: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            options,
        };
        match (record.role, record.promoted) {
            (ReplicaRole::Replica, _) => lsm.follow(&desk.words()),
            (ReplicaRole::Primary, Some(term)) if !desk.has(term) => {
                lsm.follow(&desk.words());
                // If it cannot be begun now (a full disk), Promote begins it.
                drop(desk.begin_term(lsm, &**clock, term));
            }
            (ReplicaRole::Primary, _) => {}
        }
        Ok(desk)
    }

    /// The servers it belongs to, as that is shown.
    pub(crate) fn set_name(&self) -> String {
        self.set.to_string()
    }

    /// # Errors
    /// [`Status::WrongRole`]: it is a primary.
    fn is_replica(&self) -> Result<(), Refusal> {
        follow::check_replica(self.record.lock().role)
    }

    /// Which servers belong together.
    pub(crate) fn set(&self) -> StoreId {
        self.set
    }

    /// Where its primary is, as far as is known.
    pub(crate) fn primary(&self) -> Option<&str> {
        self.options.primary.as_deref()
    }

    fn has(&self, term: Term) -> bool {
        self.terms.load().contains(&term)
    }

    /// What is told to who would write to a replica.
    fn words(&self) -> String {
        match &self.options.primary {
            Some(address) => format!(
                "this server is a replica and takes no writes: send them to the primary, {}",
                shown(address)
            ),
            None => {
                "this server is a replica and takes no writes: send them to the primary, which \
                     is not named in replica.address of db.yaml here"
                    .to_owned()
            }
        }
    }

    /// Reads the terms again, which a commit has changed.
    fn reload(&self, lsm: &Lsm) -> Result<(), lsm::Error> {
        if let Some(terms) = terms::load(lsm)? {
            self.terms.store(Arc::new(terms));
        }
        Ok(())
    }
}

fn loaded(lsm: &Lsm) -> Result<Vec<Term>, OpenError> {
    let damaged = || OpenError::Catalog("the list of its terms".to_owned());
    terms::load(lsm)?.ok_or_else(damaged)
}

impl Engine {
    /// Whether this server takes writes, as far as its role goes. Cheap.
    pub fn leads(&self) -> bool {
        !self.lsm.follows()
    }

    /// What this server is, by its own record.
    pub fn replica_role(&self) -> ReplicaRole {
        self.replica.record.lock().role
    }

    /// Refuses what would write, on a replica.
    ///
    /// # Errors
    /// [`Status::NotLeader`], with the primary's address.
    pub(crate) fn check_leads(&self) -> Result<(), Refusal> {
        Ok(self.lsm.check_leads()?)
    }
}

fn refusal(status: Status, message: impl Into<String>) -> Refusal {
    Refusal::new(status, message)
}

fn figure(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
