//! The segmented value log: values written once, read by pointer.
//!
//! What this crate promises: a record that [`Vlog::sync`] made durable reads
//! back byte for byte by its [`Pointer`], or fails by file and offset; never
//! other bytes. What lies beyond the [`Tail`] that the caller's meta page
//! vouches for never happened: [`Vlog::open`] cuts it.
//!
//! The caller's order, from which crash safety follows: append, [`Vlog::sync`],
//! then commit the pointers and the tail together. A crash before that commit
//! leaves only bytes beyond the old tail; a crash after it leaves all records
//! durable. A segment is removed only after a commit that names it nowhere.
//!
//! Records not yet synced cannot be read: their pointers are not committed yet,
//! and the memtable still holds their values.

mod error;
mod garbage;
mod log;
mod prims;
mod raw;
mod reader;
mod record;
mod scan;
mod segment;
mod table;
#[cfg(test)]
mod tests;
mod write;

pub use error::Error;
pub use garbage::{SegmentUse, choose_garbage};
pub use log::Vlog;
pub use raw::{SegmentFile, Whole};
pub use reader::Reader;
pub use record::{MAX_KEY_BYTES, MAX_VALUE_BYTES, Pointer, RecordRef};
pub use scan::Scan;
pub use segment::Tail;

/// How the value log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A segment is ended before it would grow over this; a larger record gets a
    /// segment of its own. Default 1 GiB.
    pub segment_bytes: u64,
    /// Bytes of appended records held before they are written. Default 4 MiB.
    pub buffer_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 1 << 30, buffer_bytes: 4 << 20 }
    }
}

/// One segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number, which is its name.
    pub id: u32,
    /// Bytes of synced records in it; the file's header does not count.
    pub bytes: u64,
    /// Nothing is appended to it any more.
    pub sealed: bool,
}

/// A verified record in a buffer of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub keyspace: u32,
    /// The commit that wrote it.
    pub lsn: u64,
    key_len: usize,
    /// The whole record as on the disk.
    bytes: Vec<u8>,
}

impl Record {
    /// Its key.
    pub fn key(&self) -> &[u8] {
        &self.bytes[record::HEADER_LEN..][..self.key_len]
    }

    /// Its value.
    pub fn value(&self) -> &[u8] {
        &self.bytes[record::HEADER_LEN + self.key_len..]
    }

    /// Its value, in the record's own buffer.
    pub fn into_value(mut self) -> Vec<u8> {
        self.bytes.drain(..record::HEADER_LEN + self.key_len);
        self.bytes
    }
}
