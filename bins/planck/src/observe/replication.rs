//! The families of replication: of a primary each replica by its name, of a replica its
//! link.
//!
//! What must stay true: names of replicas are the only labels that a peer chooses, and
//! their number is bounded by the engine.

use super::text::{Kind, Page};
use engine::{FollowerFigures, LinkFigures, ReplicationFigures};

type OfFollower = (&'static str, &'static str, fn(&FollowerFigures) -> f64);
type OfLink = (&'static str, &'static str, fn(&LinkFigures) -> f64);

pub(super) fn page(page: &mut Page, figures: Option<&ReplicationFigures>) {
    let mut role = page.family(
        "planck_replication_role",
        Kind::Gauge,
        &["role"],
        "1 for what this server is: primary or replica",
    );
    if let Some(figures) = figures {
        for name in ["primary", "replica"] {
            role.sample(&[name], f64::from(u8::from(name == figures.role.name())));
        }
    }
    page.gauge(
        "planck_replication_term",
        "the number of the term: how often a replica was promoted",
        figures.map(|figures| figures.term),
    );
    page.counter(
        "planck_replication_bytes_total",
        "bytes of frames given to replicas, or taken from a primary",
        figures.map(|figures| figures.bytes),
    );
    page.counter(
        "planck_replication_applied_frames_total",
        "commits of a primary that were applied here",
        figures.map(|figures| figures.applied_frames),
    );
    page.counter(
        "planck_replication_snapshots_total",
        "snapshots that were made for replicas",
        figures.map(|figures| figures.snapshots),
    );
    page.counter(
        "planck_replication_bootstraps_total",
        "times the data of this replica was made from a snapshot, since its process was started",
        figures.map(|figures| figures.bootstraps),
    );
    page.counter(
        "planck_replication_reconnects_total",
        "times the link to the primary was lost",
        figures.map(|figures| figures.reconnects),
    );
    page.gauge(
        "planck_replicas",
        "replicas that follow this primary",
        figures.map(|figures| figures.followers.len() as u64),
    );
    for (name, help, of) in OF_FOLLOWERS {
        let mut family = page.family(name, Kind::Gauge, &["replica"], help);
        for one in figures.iter().flat_map(|figures| &figures.followers) {
            family.sample(&[&one.name], of(one));
        }
    }
    for (name, help, of) in OF_LINK {
        let mut family = page.family(name, Kind::Gauge, &[], help);
        if let Some(link) = figures.and_then(|figures| figures.link.as_ref()) {
            family.sample(&[], of(link));
        }
    }
}

const OF_FOLLOWERS: [OfFollower; 5] = [
    ("planck_replica_shipped_lsn", "the last commit that was given to the replica", |one| {
        one.shipped_lsn as f64
    }),
    (
        "planck_replica_durable_lsn",
        "the last commit that the replica says is durable there",
        |one| one.durable_lsn as f64,
    ),
    (
        "planck_replica_behind_commits",
        "durable commits that are not durable at the replica",
        |one| one.behind as f64,
    ),
    ("planck_replica_behind_bytes", "bytes of the log that hold them, about", |one| {
        one.behind_bytes as f64
    }),
    ("planck_replica_silent_seconds", "how long ago the replica asked last", |one| {
        one.silent_micros as f64 / 1e6
    }),
];

const OF_LINK: [OfLink; 5] = [
    ("planck_replication_connected", "1 if this replica follows its primary", |link| {
        f64::from(u8::from(link.connected))
    }),
    ("planck_replication_primary_durable_lsn", "the primary's last durable commit", |link| {
        link.primary_durable_lsn as f64
    }),
    ("planck_replication_behind_commits", "of those, the ones not applied here", |link| {
        link.behind as f64
    }),
    (
        "planck_replication_behind_bytes",
        "bytes of the primary's log that hold them, about",
        |link| link.behind_bytes as f64,
    ),
    (
        "planck_replication_behind_seconds",
        "from the last commit here to the primary's clock, while commits are missing",
        |link| link.behind_micros as f64 / 1e6,
    ),
];
