//! One function per fuzz target: any bytes in, no panic, and the target's own
//! promise kept.
//!
//! What must stay true:
//! * checksums are made right again after bytes were changed where a target says
//!   so: else nothing behind them would ever be reached;
//! * a target asserts more than "no panic": what comes out is what went in, or an
//!   error;
//! * a target reads nothing but its bytes: the same input does the same.

mod bytes;
mod copies;
mod documents;
mod pages;
mod store;
mod values;
mod wal_log;

pub use copies::{archive, backup};
pub use documents::{document, order, packet};
pub use pages::{meta, page};
pub use store::{batch, store};
pub use values::vlog_record;
pub use wal_log::wal_frame;

/// A target: any bytes in, no panic.
pub type Target = fn(&[u8]);

/// All targets by name, which is also the name of their corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("wal_frame", wal_frame),
    ("page", page),
    ("vlog_record", vlog_record),
    ("meta", meta),
    ("batch", batch),
    ("order", order),
    ("document", document),
    ("packet", packet),
    ("store", store),
    ("archive", archive),
    ("backup", backup),
];
