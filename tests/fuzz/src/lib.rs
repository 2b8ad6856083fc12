//! One function per fuzz target: any bytes in, no panic, and the target's own
//! promise kept.
//!
//! What must stay true:
//! * checksums are made right again after bytes were changed where a target says
//!   so: else nothing behind them would ever be reached;
//! * a target asserts more than "no panic": what comes out is what went in, or an
//!   error;
//! * a target reads nothing but its bytes: the same input does the same;
//! * its committed corpus comes to every one of its places: `tests/corpora.rs`.
//!
//! The files `made-*` of a corpus are written by `cargo run --bin seeds`, through the
//! encoders of the formats; the others were found.

mod backups;
mod bytes;
// The configuration of the process, as it stands there: a program is no library.
#[allow(dead_code, unused_imports)] // Not all of it is for what is fuzzed.
#[path = "../../../bins/planck/src/config/mod.rs"]
mod config;
mod copies;
mod documents;
mod guests;
pub mod marks;
mod pages;
mod queries;
pub mod seeds;
mod store;
mod values;
mod wal_log;
mod web;
mod yaml;

pub use backups::backup;
pub use copies::archive;
pub use documents::{document, order, packet};
pub use guests::guest_calls;
pub use pages::{meta, page};
pub use queries::{dispatch, pql};
pub use store::{batch, store};
pub use values::vlog_record;
pub use wal_log::wal_frame;
pub use web::web;
pub use yaml::settings;

/// A target.
pub struct Target {
    /// Its name, which is also that of its corpus.
    pub name: &'static str,
    /// Any bytes in, no panic.
    pub run: fn(&[u8]),
    /// What its corpus must come to: parts of its marks ([`marks`]).
    pub places: &'static [&'static str],
}

macro_rules! targets {
    ($($name:ident: $places:path,)*) => {
        /// All targets.
        pub const TARGETS: &[Target] =
            &[$(Target { name: stringify!($name), run: $name, places: $places },)*];
    };
}

targets! {
    archive: copies::PLACES,
    backup: backups::PLACES,
    batch: store::BATCH_PLACES,
    dispatch: queries::DISPATCH_PLACES,
    document: documents::PLACES,
    guest_calls: guests::PLACES,
    meta: pages::META_PLACES,
    order: documents::ORDER_PLACES,
    packet: documents::PACKET_PLACES,
    page: pages::PLACES,
    pql: queries::PQL_PLACES,
    settings: yaml::PLACES,
    store: store::PLACES,
    vlog_record: values::PLACES,
    wal_frame: wal_log::PLACES,
    web: web::PLACES,
}
