//! Real kills: a process writes, is killed with SIGKILL at a random moment, and
//! whatever it had acknowledged must be there when the store is opened again.
//!
//! What must stay true:
//! * an acknowledgement is counted only once it has left the process (a pipe
//!   outlives its writer), so none that the parent has read can be taken back;
//! * the whole state of a writer follows from the number of its last commit
//!   (`plan.rs`), so the check is exact: nothing lost, nothing half, nothing of a
//!   later commit, nothing old come back;
//! * the child does all that a server does: several writers, the timed sync, the
//!   bounded steps; memtables and segments are so small that a kill often hits a
//!   flush, a collection or a rotation.

mod check;
mod child;
mod parent;
mod plan;

pub use child::child;
pub use parent::{Report, cycles};
