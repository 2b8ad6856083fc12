//! The rows of a query on a connection of one's own, a page at a time.
//!
//! What must stay true: a page is asked for only when the one before was taken, so
//! that one page is in memory at a time; after an error there is no next page.

use super::Connection;
use crate::Result;
use proto::{Reply, Request};

/// The pages of a query, in order: whole reply packets, for [`proto::Reply::decode`].
/// One that is not read to its end keeps a cursor open on the server, until
/// [`Pages::close`], the end of the session, or until it expires there.
#[derive(Debug)]
pub struct Pages<'c> {
    connection: &'c mut Connection,
    first: Option<Vec<u8>>,
    cursor: Option<u64>,
}

impl Connection {
    /// Asks a query, whose rows come in pages of at most `rows` rows and `bytes` bytes
    /// (0: as many as fit a reply; a row longer than a page comes alone). A query that
    /// gives no rows has one page, which says what it gives.
    ///
    /// # Errors
    /// There is no answer. What the server refuses is a page.
    pub async fn stream(
        &mut self,
        text: &str,
        parameters: Option<&[u8]>,
        (rows, bytes): (u32, u32),
    ) -> Result<Pages<'_>> {
        let first = self.call(&Request::Stream { rows, bytes, text, parameters }).await?;
        let cursor = cursor_of(&first)?;
        Ok(Pages { connection: self, first: Some(first), cursor })
    }
}

impl Pages<'_> {
    /// The next page; `None` after the last one. It may have no rows.
    ///
    /// # Errors
    /// There is no answer. What the server refuses is a page, the last one.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let Some(cursor) = self.cursor.take() else { return Ok(None) };
        let page = self.connection.call(&Request::Fetch { cursor }).await?;
        self.cursor = cursor_of(&page)?;
        Ok(Some(page))
    }

    /// Lets go of what was not read.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn close(mut self) -> Result<()> {
        let Some(cursor) = self.cursor.take() else { return Ok(()) };
        // That the cursor is gone already is as good.
        self.connection.call(&Request::CloseCursor { cursor }).await.map(drop)
    }
}

/// The cursor a page names, if there may be more.
fn cursor_of(page: &[u8]) -> Result<Option<u64>> {
    Ok(match Reply::decode(page)?.1 {
        Reply::Rows(rows) => rows.cursor,
        _ => None,
    })
}
