//! Places by address: no single one takes all of those that a listener has.
//!
//! What must stay true: an address, or an IPv6 network that one party commonly has (/64),
//! holds half of the places at most, whichever way it comes. Nothing is kept of who has
//! gone: the table is no larger than what is held.

use crate::lockout::neighbourhood;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who holds how many of the places of one listener.
#[derive(Debug)]
pub(crate) struct Shares {
    /// What one address may hold.
    most: usize,
    held: Mutex<BTreeMap<IpAddr, usize>>,
}

/// One place of an address, given back on drop.
#[derive(Debug)]
pub(crate) struct Share {
    of: Arc<Shares>,
    address: IpAddr,
}

impl Shares {
    /// Of so many places: an address may hold half of them, one at least.
    pub(crate) fn of(places: usize) -> Arc<Shares> {
        Arc::new(Shares { most: places.div_ceil(2).max(1), held: Mutex::default() })
    }

    /// A place for `address`; `None`: it has its share.
    pub(crate) fn take(self: &Arc<Shares>, address: IpAddr) -> Option<Share> {
        let address = neighbourhood(address);
        let mut held = self.held();
        let count = held.entry(address).or_insert(0);
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Share { of: Arc::clone(self), address })
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        // Nothing is left half-done in it if a holder panicked.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.of.held();
        if let Some(count) = held.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_has_half_of_the_places_and_gives_them_back() {
        let shares = Shares::of(3);
        let take = |address: &str| shares.take(address.parse().unwrap());
        let (first, second) = (take("2001:db8::1"), take("2001:db8::2"));
        assert!(first.is_some() && second.is_some());
        assert!(take("2001:db8::3").is_none(), "the network has two");
        let plain = [take("::ffff:192.0.2.1"), take("192.0.2.1")];
        assert!(plain.iter().all(Option::is_some) && take("192.0.2.1").is_none());
        drop(first);
        let third = take("2001:db8::3");
        assert!(third.is_some() && take("2001:db8::4").is_none());
        drop((second, third, plain));
        assert!(shares.held().is_empty(), "nothing is kept of who has gone");
    }

    #[test]
    fn where_there_is_one_place_whoever_comes_may_have_it() {
        for places in [0, 1, 2] {
            let shares = Shares::of(places);
            let address: IpAddr = "192.0.2.1".parse().unwrap();
            let one = shares.take(address);
            assert!(one.is_some() && shares.take(address).is_none(), "{places}");
        }
    }
}
