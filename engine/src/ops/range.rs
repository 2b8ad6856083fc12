//! Range: documents between two keys, a page at a time.

use std::ops::Bound;

use proto::{Key, ReplyWriter, Status};

use super::page::Page;
use crate::patience::Patience;
use crate::{Engine, Refusal};

impl Engine {
    /// Answers with the documents from `from` to `to`, both included, from the
    /// last one on if `reverse`.
    pub(crate) fn range(
        &self,
        store: &str,
        (from, to): (Key, Key),
        limit: u32,
        reverse: bool,
        patience: &Patience,
        reply: ReplyWriter<'_>,
    ) -> Result<(), Refusal> {
        let view = self.view(store)?;
        if from > to {
            let message = format!(
                "the range from {from} to {to} ends before it begins: give the smaller key first, \
                 and say reverse to read it from its end"
            );
            return Err(Refusal::new(Status::BadKey, message));
        }
        let (low, high) = (Bound::Included(from), Bound::Included(to));
        let work = self.queries.work(self.query_limits(), patience);
        Page::new(reply, limit, &self.limits).fill(&view, low, high, reverse, &work)
    }
}
