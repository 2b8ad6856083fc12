//! What is told of replication: in `Stats`, at `/metrics`, and by Position.

use std::sync::atomic::Ordering::Relaxed;

use lsm::StoreId;
use proto::doc::DocBuf;

use super::{ReplicaRole, figure};
use crate::{Engine, Lsn};

/// Of a primary, each replica; of a replica, its link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicationFigures {
    /// What this server is.
    pub role: ReplicaRole,
    /// The number of the term, 0: there was no promotion yet.
    pub term: u64,
    /// Commits that were applied here, of a primary, since the start.
    pub applied_frames: u64,
    /// Bytes of frames given to replicas, or taken from a primary, since the start.
    pub bytes: u64,
    /// Snapshots that were made for replicas, since the start.
    pub snapshots: u64,
    /// How often its data was made from one, since the process was started.
    pub bootstraps: u64,
    /// How often its link to a primary was lost, since the start.
    pub reconnects: u64,
    /// The replicas that follow this primary.
    pub followers: Vec<FollowerFigures>,
    /// Of a replica.
    pub link: Option<LinkFigures>,
}

/// A replica, as its primary knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerFigures {
    /// The name it gives itself.
    pub name: String,
    /// The last commit it was given.
    pub shipped_lsn: Lsn,
    /// The last it has said to be durable there.
    pub durable_lsn: Lsn,
    /// Durable commits of the primary that it has not said so of.
    pub behind: u64,
    /// Bytes of the log that hold them, about.
    pub behind_bytes: u64,
    /// Microseconds since it asked last.
    pub silent_micros: u64,
}

/// The link of a replica to its primary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkFigures {
    /// Whether its last page came, and nothing failed since.
    pub connected: bool,
    /// Why not.
    pub error: Option<String>,
    /// The primary's last durable commit, when it was heard of last.
    pub primary_durable_lsn: Lsn,
    /// Commits of it that are not applied here.
    pub behind: u64,
    /// Bytes of the primary's log that hold them, about.
    pub behind_bytes: u64,
    /// Microseconds from the last commit here to when the primary was heard of last, by its
    /// clock, if anything is missing.
    pub behind_micros: u64,
}

/// What a replica knows of its primary.
#[derive(Default)]
pub(super) struct Link {
    figures: LinkFigures,
    reconnects: u64,
    /// Wall time of the last commit applied.
    wall: u64,
    /// The primary's clock, when it was heard of.
    now: u64,
}

impl Link {
    /// A page came.
    pub(super) fn came(&mut self, durable: Lsn, now: u64, behind_bytes: u64) {
        let figures = &mut self.figures;
        (figures.connected, figures.error) = (true, None);
        (figures.primary_durable_lsn, figures.behind_bytes) = (durable, behind_bytes);
        self.now = now;
    }

    /// The last commit that was applied was made then.
    pub(super) fn applied(&mut self, wall: u64) {
        self.wall = wall;
    }

    /// It is a link no more.
    pub(super) fn ended(&mut self) {
        self.figures = LinkFigures::default();
    }
}

impl ReplicationFigures {
    /// As `Stats` tells of them.
    pub(crate) fn tell(&self, doc: &mut DocBuf) {
        doc.push("role", self.role.name()).push("term", figure(self.term));
        if let Some(link) = &self.link {
            doc.push("connected", link.connected).push("reconnects", figure(self.reconnects));
            doc.push("primary_durable_lsn", figure(link.primary_durable_lsn));
            doc.push("behind", figure(link.behind));
            doc.push("behind_bytes", figure(link.behind_bytes));
            doc.push("behind_us", figure(link.behind_micros));
            if let Some(error) = &link.error {
                doc.push("error", error.as_str());
            }
        }
        if self.followers.is_empty() {
            return;
        }
        doc.array("replicas", |list| {
            for one in &self.followers {
                list.item_doc(|doc| {
                    doc.push("name", one.name.as_str());
                    doc.push("shipped_lsn", figure(one.shipped_lsn));
                    doc.push("durable_lsn", figure(one.durable_lsn));
                    doc.push("behind", figure(one.behind));
                    doc.push("behind_bytes", figure(one.behind_bytes));
                    doc.push("silent_us", figure(one.silent_micros));
                });
            }
        });
    }
}

impl Engine {
    /// Says that the link to the primary failed, and why; it is made anew.
    pub fn link_failed(&self, why: &str) {
        let mut link = self.replica.link.lock();
        if link.figures.connected {
            link.reconnects += 1;
        }
        (link.figures.connected, link.figures.error) = (false, Some(why.to_owned()));
    }

    /// The figures of replication.
    pub fn replication(&self) -> ReplicationFigures {
        let desk = &self.replica;
        // Not by its record, which is held while a page is applied.
        let role = if self.leads() { ReplicaRole::Primary } else { ReplicaRole::Replica };
        let settled = self.lsm.settled_lsn();
        let mut followers = Vec::with_capacity(desk.followers.len());
        desk.followers.each(|one, silent| {
            let figures = FollowerFigures {
                name: one.name.clone(),
                shipped_lsn: one.next - 1,
                durable_lsn: one.durable,
                behind: settled.saturating_sub(one.durable),
                behind_bytes: match one.durable < settled {
                    true => self.lsm.log_bytes_from(one.durable + 1),
                    false => 0,
                },
                silent_micros: silent / 1000,
            };
            followers.push((one.id, figures));
        });
        let link = (role == ReplicaRole::Replica).then(|| {
            let link = desk.link.lock();
            let mut figures = link.figures.clone();
            figures.behind = figures.primary_durable_lsn.saturating_sub(settled);
            if figures.behind > 0 && link.wall > 0 {
                figures.behind_micros = link.now.saturating_sub(link.wall);
            }
            figures
        });
        ReplicationFigures {
            role,
            term: desk.terms.load().last().map_or(0, |term| term.number),
            applied_frames: desk.frames.load(Relaxed),
            bytes: desk.bytes.load(Relaxed),
            snapshots: desk.snapshots.made(),
            bootstraps: desk.options.bootstraps,
            reconnects: desk.link.lock().reconnects,
            followers: told_apart(followers),
            link,
        }
    }
}

/// Gives each a name of its own, who asked last first: two may call themselves alike, and one
/// that was made anew has another number than it had.
fn told_apart(mut all: Vec<(StoreId, FollowerFigures)>) -> Vec<FollowerFigures> {
    all.sort_by_key(|(_, one)| one.silent_micros);
    let mut apart: Vec<FollowerFigures> = Vec::with_capacity(all.len());
    for (id, mut one) in all {
        if apart.iter().any(|other| other.name == one.name) {
            one.name = format!("{} {id}", one.name);
        }
        apart.push(one);
    }
    apart
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_of_one_name_are_told_apart() {
        let one = |id: u8, name: &str, silent_micros| {
            let name = name.to_owned();
            let (shipped_lsn, durable_lsn, behind, behind_bytes) = (0, 0, 0, 0);
            let figures = FollowerFigures {
                name,
                shipped_lsn,
                durable_lsn,
                behind,
                behind_bytes,
                silent_micros,
            };
            (StoreId([id; 16]), figures)
        };
        let all =
            told_apart(vec![one(1, "b", 90), one(2, "b", 5), one(3, "b", 70), one(4, "c", 8)]);
        let names: Vec<&str> = all.iter().map(|one| &*one.name).collect();
        let (third, first) = (format!("b {}", "03".repeat(16)), format!("b {}", "01".repeat(16)));
        assert_eq!(names, ["b", "c", &*third, &*first]);
    }
}
