//! A copy-on-write B+tree page file: many trees, one atomic switch.
//!
//! Must stay true:
//! * a commit is one page write: [`Write::commit`] shows all of its changes to
//!   all trees and the 64 user bytes, or none, now and after a crash;
//! * a [`View`] is one version, forever: no page it can reach is written over;
//! * no byte is served that does not check against its place and against the
//!   reference that led to it.
//!
//! From the file upwards:
//! * `format`: meta page, page header, references, checksums (the drawing);
//! * `node`: leaf and inner pages, read in place; `run`: where pages end;
//! * `cache`: page frames; `pins`: inner pages kept by what refers to them; `view`, `cursor`, `many`:
//!   reading; `count`: keys between bounds;
//! * `apply`, `level`: sorted batches; `trim`: removing from the front; `shrink`:
//!   giving the end of the file back; `free`: the free list; `write`: commit and why it
//!   is durable; `file`: open and create; `verify`: proof that a file is whole;
//! * `pages`: every page of a version, for backup and salvage.
//!
//! ```
//! # use std::ops::Bound::Unbounded;
//! # fn demo(disk: std::sync::Arc<dyn platform::Disk>) -> Result<(), btree::Error> {
//! use btree::{Direction, Op, Options, PageFile};
//! let file = PageFile::open(disk, "data.pages", Options::default())?;
//! let mut write = file.begin();
//! write.apply(7, [(b"a", Op::Put(b"1")), (b"b", Op::Put(b"2"))], &mut |_key, _old| {})?;
//! let view = write.commit()?;
//! assert_eq!(view.get(7, b"a")?.as_deref(), Some(&b"1"[..]));
//! let mut cursor = view.range(7, Unbounded, Unbounded, Direction::Reverse);
//! while let Some((key, value)) = cursor.next()? {
//!     println!("{key:?} {value:?}");
//! }
//! # Ok(()) }
//! ```

mod apply;
mod cache;
mod count;
mod cursor;
mod error;
mod file;
mod format;
mod free;
#[doc(hidden)]
pub mod fuzz;
mod level;
mod many;
mod node;
mod pages;
mod pins;
mod prims;
mod run;
mod shrink;
#[cfg(test)]
mod tests;
mod trim;
mod verify;
mod view;
mod write;

pub use apply::{Applied, Op};
pub use cache::CacheStats;
pub use cursor::{Cursor, Direction, Entry};
pub use error::{Error, Place};
pub use file::{Options, PageFile};
pub use format::{MAX_KEY, MAX_VALUE, PAGE_BYTES, VERSION};
pub use pages::{OpenFault, PageAt, PageCopy, Pages, Walked, check_page, open_damaged};
pub use shrink::Shrunk;
pub use trim::Trimmed;
pub use verify::{Fault, Report};
pub use view::{TreeInfo, Value, View};
pub use write::Write;
