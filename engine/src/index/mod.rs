//! Secondary indexes: defined, kept by every write, built while writes go on, read,
//! proven.
//!
//! ```text
//! def.rs     what an index is           build.rs   the entries of documents from before
//! entry.rs   the entries of a document  read.rs    cursor, bounds, estimates
//! keep.rs    what a write changes       covered.rs what an entry says of its document
//!                                       check.rs   the proof that it holds what it should
//! ```
//!
//! What must stay true:
//! * an index is a keyspace of entries, written in the very batch of the document it
//!   is of; all writes of documents go through `ops::change`, which sees to that;
//! * what is `ready` holds exactly the entries its documents demand, at every LSN from
//!   the commit on that made it so; what is not ready is read by nobody;
//! * the catalog a write uses is that of the state it writes to (`catalog`), so a write
//!   behind the commit that makes an index keeps it, one before is found by its build.
//!
//! # For who plans queries
//!
//! [`crate::catalog::Catalogs::resolve`] gives the [`Store`](crate::catalog::Store) of
//! a snapshot, with its `indexes`; those with [`Index::is_ready`] may be read with that
//! snapshot. Of each: `definition.fields` in order with their direction, `unique`,
//! `sparse` (documents without any of the fields are left out), `filter` (only documents
//! that meet it are there: use the index only if the query implies it).
//!
//! * [`Index::prefix`] encodes values for the first fields; all entries with these
//!   values lie between [`Bounds::of`] it. A range on the next field: encode one value
//!   more. If the encoding says `cut`, neighbours share the bytes: include the bound, and
//!   test the document.
//! * [`Scan::open`] walks the entries between bounds, either way, and gives of each the
//!   document's key; [`Index::covered`] the fields' values as far as they are in the
//!   entry ([`Covered::Value`], exact in type and value): a query of those fields alone
//!   needs no document. [`Covered::Document`]: look there.
//! * A document with arrays has several entries, so it can come several times, and its
//!   order is not that of `orderBy`: [`Index::has_arrays`] says exactly whether the
//!   snapshot has such a document; without one, index order is `orderBy` order but among
//!   entries of which a field was cut ([`Index::ends`] says so).
//! * [`Index::entries_now`] is the exact number of entries, `Store::documents_now` that
//!   of documents; [`Index::estimate`] how many lie between bounds: exactly, unless many
//!   of them are new.

mod build;
mod check;
mod covered;
mod def;
mod entry;
mod keep;
mod read;

pub(crate) use build::{BUILDS, Progress, progress};
pub(crate) use check::{Difference, Found, check};
pub(crate) use covered::{Covered, Ends};
pub(crate) use def::{Definition, Field, Index, Phase};
pub(crate) use entry::{Entries, MAX_ENTRIES, TooMany};
pub(crate) use keep::Kept;
pub(crate) use read::{Bounds, Scan, document_of};
