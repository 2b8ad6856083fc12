//! The rows of a query, page by page.
//!
//! What must stay true: pages go on where the one before ended, with no row left out
//! and none given twice, in one snapshot; a page is never larger than a reply. A row
//! that was reached and had no room is the first one of the next page. A stream that
//! failed is not gone on with: where it stands is not known.

use proto::{ReplyWriter, RowsWriter, Status};

use super::QueryError;
use super::rows::Source;
use super::work::Work;

/// How much of a result goes into one page, beside what fits a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize {
    /// Rows at most.
    rows: usize,
    /// Bytes of the reply at most, but for a row that is longer alone.
    bytes: usize,
}

impl PageSize {
    /// As much as fits a reply.
    pub const FULL: PageSize = PageSize { rows: usize::MAX, bytes: usize::MAX };

    /// At most so many rows and bytes; 0: as many as fit.
    pub fn of(rows: u32, bytes: u32) -> PageSize {
        let most = |n: u32| usize::try_from(n).ok().filter(|&n| n > 0).unwrap_or(usize::MAX);
        PageSize { rows: most(rows), bytes: most(bytes) }
    }
}

/// The rows of a query that were not given yet. It owns all it needs.
pub struct Stream {
    rows: Source,
    /// Whether rows come with the keys of documents.
    keyed: bool,
    /// Whether the row stood on was not given.
    held_back: bool,
}

/// A reply of rows that is not ended yet.
pub struct Page<'r> {
    /// The rows.
    pub rows: RowsWriter<'r>,
    /// Whether there may be more behind them.
    pub more: bool,
}

impl Stream {
    pub(super) fn new(rows: Source, keyed: bool) -> Stream {
        Stream { rows, keyed, held_back: false }
    }

    /// The next page. It may end before it is full when its time runs out, and it is
    /// not looked behind its last row: the page after it may be empty.
    ///
    /// # Errors
    /// Whatever keeps a row from being read; a row that no reply can hold.
    pub fn page<'r>(
        &mut self,
        work: &Work,
        size: PageSize,
        reply: ReplyWriter<'r>,
    ) -> Result<Page<'r>, QueryError> {
        let reply_limit = work.limits().reply;
        let room = size.bytes.min(reply_limit);
        let key_bytes = if self.keyed { 16 } else { 0 };
        let mut rows = reply.rows(self.keyed);
        while rows.is_empty() || (rows.len() < size.rows && !work.is_late()) {
            if !std::mem::take(&mut self.held_back) && !self.rows.advance(work)? {
                return Ok(Page { rows, more: false });
            }
            let (key, document) = self.rows.row()?;
            let document = document.as_bytes();
            let bytes = rows.bytes() + key_bytes + document.len();
            if bytes > room && !rows.is_empty() {
                self.held_back = true;
                break;
            }
            if bytes > reply_limit {
                let message = format!(
                    "a row of the result has {} bytes and does not fit a reply of {reply_limit}: \
                     pluck(..) fewer fields, or raise limits.max_message_size in db.yaml",
                    document.len()
                );
                return Err(QueryError::Refused(Status::ResultTooLarge, message));
            }
            rows.push(key, document);
        }
        Ok(Page { rows, more: true })
    }
}
