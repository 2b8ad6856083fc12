//! Scan: documents in key order, a page at a time.

use std::ops::Bound;

use proto::{Key, ReplyWriter};

use super::page::Page;
use crate::patience::Patience;
use crate::{Engine, Refusal};

impl Engine {
    /// Answers with the documents behind `after` in the direction of the scan.
    pub(crate) fn scan(
        &self,
        store: &str,
        after: Option<Key>,
        limit: u32,
        reverse: bool,
        patience: &Patience,
        reply: ReplyWriter<'_>,
    ) -> Result<(), Refusal> {
        let view = self.view(store)?;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (low, high) =
            if reverse { (Bound::Unbounded, start) } else { (start, Bound::Unbounded) };
        let work = self.queries.work(self.query_limits(), patience);
        Page::new(reply, limit, &self.limits).fill(&view, low, high, reverse, &work)
    }
}
