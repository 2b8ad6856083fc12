//! Who is let in, by address and account: addresses are given, so that they can be many.

use super::*;
use crate::wire::{Call, WireOptions};
use crate::{LockoutOptions, Security};
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What the handler heard.
#[derive(Default)]
struct Heard {
    checked: AtomicUsize,
    said: Mutex<Vec<String>>,
    /// Keys that are slow are not done with while it is set.
    stuck: AtomicBool,
    /// Threads that yield to others.
    yielding: AtomicUsize,
}

impl WireHandler for Heard {
    type Session = ();

    fn authenticate(&self, _: &str, key: &str, _: SocketAddr) -> Result<(), (Status, String)> {
        self.checked.fetch_add(1, Ordering::SeqCst);
        match key {
            "right" => Ok(()),
            "slow" => {
                while self.stuck.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            }
            "broken" => Err((Status::Internal, "the disk is gone".to_owned())),
            _ => Err((Status::BadCredentials, "wrong".to_owned())),
        }
    }

    fn for_strangers(&self) {
        self.yielding.fetch_add(1, Ordering::SeqCst);
    }

    fn handle(&self, (): &(), _: &[u8], _: &Call, _: &mut Vec<u8>) {}

    fn locked_out(&self, user: &str, peer: SocketAddr, seconds: u64) {
        self.said.lock().unwrap().push(format!("{} as {user}: {seconds} s", peer.ip()));
    }

    fn account_guarded(&self, user: &str, peer: SocketAddr) {
        self.said.lock().unwrap().push(format!("{user} by {}", peer.ip()));
    }
}

impl Heard {
    fn checked(&self) -> usize {
        self.checked.load(Ordering::SeqCst)
    }
}

/// Locks an address after three failures, guards an account after twelve.
fn shared() -> Arc<Shared<Heard>> {
    shared_with(WireOptions::default())
}

fn shared_with(options: WireOptions) -> Arc<Shared<Heard>> {
    // The pauses between guesses are a second, then ten, then a minute.
    let lockout = LockoutOptions {
        max_failed_attempts: 3,
        lockout_multiplier: 10,
        ..LockoutOptions::default()
    };
    let options = WireOptions { lockout, ..options };
    Shared::new(Security::Plaintext, options, Heard::default()).unwrap()
}

fn peer(n: u32) -> SocketAddr {
    (Ipv4Addr::from(0xc000_0200 + n), 4000).into()
}

async fn attempt(shared: &Arc<Shared<Heard>>, user: &str, key: &str, peer: SocketAddr) -> Status {
    let mut packet = Vec::new();
    Request::Auth { user, key }.encode(3, &mut packet);
    match authenticate(shared, &packet, peer).await {
        Ok(_) => Status::Ok,
        Err(refusal) => refusal.fault.status,
    }
}

#[tokio::test]
async fn the_failure_too_many_locks_the_address_and_is_told_once() {
    let shared = shared();
    for _ in 0..3 {
        assert_eq!(attempt(&shared, "ann", "wrong", peer(1)).await, Status::BadCredentials);
    }
    for key in ["wrong", "right"] {
        assert_eq!(attempt(&shared, "ann", key, peer(1)).await, Status::LockedOut);
    }
    assert_eq!(shared.handler.checked(), 3, "no key is looked at any more");
    assert_eq!(attempt(&shared, "ann", "right", peer(2)).await, Status::Ok, "a neighbour");
    assert_eq!(*shared.handler.said.lock().unwrap(), ["192.0.2.1 as ann: 900 s"]);
}

#[tokio::test]
async fn what_is_no_failure_of_the_caller_does_not_count() {
    let shared = shared();
    for _ in 0..10 {
        assert_eq!(attempt(&shared, "ann", "broken", peer(1)).await, Status::Internal);
    }
    assert_eq!(attempt(&shared, "ann", "right", peer(1)).await, Status::Ok);
}

#[tokio::test]
async fn many_addresses_at_one_account_are_slowed_and_its_owner_is_not() {
    let shared = shared();
    let owner = peer(200);
    assert_eq!(attempt(&shared, "ann", "right", owner).await, Status::Ok);
    for n in 0..12 {
        assert_eq!(attempt(&shared, "ann", "wrong", peer(n)).await, Status::BadCredentials);
    }
    let checked = shared.handler.checked();
    for n in 12..40 {
        attempt(&shared, "ann", "wrong", peer(n)).await;
    }
    // However slow this machine is, there was one turn at most.
    assert!(shared.handler.checked() <= checked + 1, "28 guesses");
    assert_eq!(attempt(&shared, "ann", "right", owner).await, Status::Ok);
    let here = ([127, 0, 0, 1], 4000).into();
    assert_eq!(attempt(&shared, "ann", "right", here).await, Status::Ok, "on the machine");
    assert_eq!(attempt(&shared, "bob", "right", peer(41)).await, Status::Ok, "another account");
    assert_eq!(*shared.handler.said.lock().unwrap(), ["ann by 192.0.2.11"]);
}

#[tokio::test]
async fn a_neighbour_behind_the_same_address_does_not_shut_the_owner_out() {
    let shared = shared();
    assert_eq!(attempt(&shared, "ann", "right", peer(1)).await, Status::Ok);
    for _ in 0..3 {
        assert_eq!(attempt(&shared, "bob", "wrong", peer(1)).await, Status::BadCredentials);
    }
    assert_eq!(attempt(&shared, "bob", "right", peer(1)).await, Status::LockedOut);
    // As often as they like.
    for _ in 0..5 {
        assert_eq!(attempt(&shared, "ann", "right", peer(1)).await, Status::Ok);
    }
    // However slow this machine is: guesses at them are ten seconds apart, then a minute.
    let checked = shared.handler.checked();
    for _ in 0..40 {
        attempt(&shared, "ann", "wrong", peer(1)).await;
    }
    assert!(shared.handler.checked() <= checked + 2, "40 guesses");
    assert_eq!(*shared.handler.said.lock().unwrap(), ["192.0.2.1 as bob: 900 s"], "once");
}

#[tokio::test]
async fn a_key_that_is_not_checked_in_time_is_refused_with_a_word() {
    let auth_timeout = Duration::from_millis(50);
    let shared =
        shared_with(WireOptions { auth_timeout, max_concurrent_auth: 1, ..WireOptions::default() });
    shared.handler.stuck.store(true, Ordering::SeqCst);
    assert_eq!(attempt(&shared, "ann", "slow", peer(1)).await, Status::Busy, "it takes too long");
    assert_eq!(attempt(&shared, "ann", "right", peer(1)).await, Status::Busy, "it had no turn");
    assert_eq!(shared.handler.checked(), 1);
    shared.handler.stuck.store(false, Ordering::SeqCst);
    while attempt(&shared, "ann", "right", peer(1)).await == Status::Busy {}
    // That it took long is no failure of theirs.
    assert_eq!(attempt(&shared, "ann", "right", peer(1)).await, Status::Ok);
}

#[tokio::test]
async fn many_checks_of_keys_yield_to_others_and_a_few_do_not() {
    let shared = shared();
    let yielding = || shared.handler.yielding.load(Ordering::SeqCst);
    while yielding() < 1 {
        tokio::task::yield_now().await; // The door, which begins.
    }
    for n in 0..8 {
        assert_eq!(attempt(&shared, "bob", "right", peer(n)).await, Status::Ok);
    }
    assert_eq!(yielding(), 1, "the door alone");
    for n in 0..200 {
        attempt(&shared, "ann", "right", peer(1000 + n)).await;
    }
    let before = yielding();
    assert!(before > 100, "{before} of 208: four each second do not, however slow this is");
    for _ in 0..8 {
        assert_eq!(attempt(&shared, "bob", "right", peer(3)).await, Status::Ok);
    }
    assert_eq!(yielding(), before, "who has logged in before has a share of its own");
}
