//! Whether the requests of a batch are still wanted.
//!
//! What must stay true: a flag is used again for another request only if nobody else
//! holds it any more. So a session that asks and waits makes none after its first.

use proto::wire::Batch;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Flags that are kept between batches.
const KEEP: usize = 8;

/// Those of the batch of a session that is at work.
#[derive(Clone, Debug, Default)]
pub(super) struct Flags {
    first: u64,
    flags: Arc<Vec<Arc<AtomicBool>>>,
}

impl Flags {
    /// For the next batch.
    pub(super) fn begin(&mut self, batch: &Batch) {
        self.first = batch.tickets().next().map_or(0, |ticket| ticket.serial);
        let count = batch.tickets().len();
        let flags = Arc::make_mut(&mut self.flags);
        flags.truncate(count.max(KEEP));
        flags.resize_with(count.max(flags.len()), Arc::default);
        for (flag, ticket) in flags.iter_mut().zip(batch.tickets()) {
            match Arc::get_mut(flag) {
                Some(flag) => *flag.get_mut() = ticket.cancelled,
                None => *flag = Arc::new(AtomicBool::new(ticket.cancelled)),
            }
        }
    }

    pub(super) fn get(&self, serial: u64) -> Option<&Arc<AtomicBool>> {
        self.flags.get(usize::try_from(serial.checked_sub(self.first)?).ok()?)
    }

    pub(super) fn set(&self, serial: u64) {
        if let Some(flag) = self.get(serial) {
            flag.store(true, Relaxed);
        }
    }

    pub(super) fn set_all(&self) {
        self.flags.iter().for_each(|flag| flag.store(true, Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::Request;
    use proto::packet::Header;
    use proto::wire::Server;

    /// The next batch of a session, of so many requests, of which the first is cancelled.
    fn batch(server: &mut Server, count: u64) -> Batch {
        let mut bytes = Vec::new();
        (0..count).for_each(|id| Request::Ping.encode(id, &mut bytes));
        bytes.extend_from_slice(&Header::cancel(0).to_bytes());
        assert_eq!(server.feed(&bytes), bytes.len());
        server.advance(0);
        let batch = server.detach();
        server.answered(count as usize);
        batch
    }

    fn session() -> Server {
        let mut server = Server::new();
        server.open(1 << 20, 64);
        server
    }

    fn are(flags: &Flags, serials: std::ops::Range<u64>) -> Vec<bool> {
        serials.map(|serial| flags.get(serial).unwrap().load(Relaxed)).collect()
    }

    #[test]
    fn flags_are_those_of_the_batch_and_are_used_again() {
        let (mut server, mut flags) = (session(), Flags::default());
        flags.begin(&batch(&mut server, 2));
        assert_eq!(are(&flags, 0..2), [true, false]);
        flags.set(1);
        assert_eq!(are(&flags, 0..2), [true, true]);
        let vector = Arc::as_ptr(&flags.flags);
        let flag = |flags: &Flags, serial| Arc::as_ptr(flags.get(serial).unwrap());
        let before = (flag(&flags, 0), flag(&flags, 1));
        flags.begin(&batch(&mut server, 2));
        assert_eq!(are(&flags, 2..4), [true, false], "as they were made");
        assert_eq!((flag(&flags, 2), flag(&flags, 3)), before);
        assert_eq!(Arc::as_ptr(&flags.flags), vector);
        assert!(flags.get(1).is_none());
        flags.begin(&batch(&mut server, 40));
        flags.set_all();
        flags.begin(&batch(&mut server, 1));
        assert_eq!(flags.flags.len(), KEEP);
    }

    #[test]
    fn a_flag_that_somebody_holds_is_left_to_them() {
        let (mut server, mut flags) = (session(), Flags::default());
        flags.begin(&batch(&mut server, 2));
        let kept = flags.get(1).unwrap().clone();
        let all = flags.clone();
        flags.begin(&batch(&mut server, 2));
        flags.set(3);
        assert!(!kept.load(Relaxed), "it is another's");
        assert_eq!(are(&all, 0..2), [true, false]);
    }
}
