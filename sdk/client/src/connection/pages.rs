//! The rows of a query on a connection of one's own, a page at a time.
//!
//! What must stay true: a page is asked for only when the one before was taken, so
//! that one page is in memory at a time; after an error there is no next page, but what
//! is left of the cursor can still be closed.

use super::Connection;
use crate::Result;
#[cfg(feature = "quic")]
use crate::Session;
use proto::{Reply, Request, Status};

/// The pages of a query, in order: whole reply packets, for [`proto::Reply::decode`].
/// One that is not read to its end keeps a cursor open on the server, until
/// [`Pages::close`], the end of the session, or until it expires there.
#[derive(Debug)]
pub struct Pages<'c> {
    asked: Asked<'c>,
    first: Option<Vec<u8>>,
    cursor: Option<u64>,
    /// Whether there is no next page, even if the cursor is there.
    over: bool,
}

/// The session of the cursor.
#[derive(Debug)]
enum Asked<'c> {
    Connection(&'c mut Connection),
    #[cfg(feature = "quic")]
    Session(&'c Session),
}

impl Asked<'_> {
    async fn call(&mut self, request: &Request<'_>) -> Result<Vec<u8>> {
        match self {
            Asked::Connection(connection) => connection.call(request).await,
            #[cfg(feature = "quic")]
            Asked::Session(session) => session.call(request).await,
        }
    }
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
        size: (u32, u32),
    ) -> Result<Pages<'_>> {
        Pages::of(Asked::Connection(self), text, parameters, size).await
    }
}

#[cfg(feature = "quic")]
impl Session {
    /// As [`Connection::stream`].
    ///
    /// # Errors
    /// There is no answer. What the server refuses is a page.
    pub async fn stream(
        &self,
        text: &str,
        parameters: Option<&[u8]>,
        size: (u32, u32),
    ) -> Result<Pages<'_>> {
        Pages::of(Asked::Session(self), text, parameters, size).await
    }
}

impl<'c> Pages<'c> {
    async fn of(
        mut asked: Asked<'c>,
        text: &str,
        parameters: Option<&[u8]>,
        (rows, bytes): (u32, u32),
    ) -> Result<Pages<'c>> {
        let first = asked.call(&Request::Stream { rows, bytes, text, parameters }).await?;
        let cursor = match Reply::decode(&first)?.1 {
            Reply::Rows(rows) => rows.cursor,
            _ => None,
        };
        Ok(Pages { asked, first: Some(first), cursor, over: false })
    }

    /// The next page; `None` after the last one. It may have no rows.
    ///
    /// # Errors
    /// There is no answer. What the server refuses is a page, the last one.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        if self.over {
            return Ok(None);
        }
        let Some(cursor) = self.cursor else { return Ok(None) };
        self.over = true; // Until it is known that there is more.
        let page = self.asked.call(&Request::Fetch { cursor }).await?;
        match Reply::decode(&page)?.1 {
            Reply::Rows(rows) => {
                self.cursor = rows.cursor;
                self.over = false;
            }
            Reply::Error { status: Status::UnknownCursor, .. } => self.cursor = None,
            // It may have been refused before it began: the cursor waits on then.
            _ => {}
        }
        Ok(Some(page))
    }

    /// Lets go of what was not read.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn close(mut self) -> Result<()> {
        let Some(cursor) = self.cursor.take() else { return Ok(()) };
        // That the cursor is gone already is as good.
        self.asked.call(&Request::CloseCursor { cursor }).await.map(drop)
    }
}
