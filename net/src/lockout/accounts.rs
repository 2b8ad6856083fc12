//! Accounts that are guessed at from many addresses.
//!
//! What must stay true: strangers are slowed, the owner is not locked out. An account
//! at which too many attempts of strangers failed is guarded: strangers get one attempt
//! at a time, with a pause that grows, but only up to [`LONGEST_PAUSE`], so that there
//! is always a next one. No stranger is an address that has logged in to the account
//! lately, nor the server's own machine: they enter as ever, take no stranger's turn,
//! and their failures count for their address alone. Where that address is locked, they
//! take turns of their own, in the same way, so that a neighbour behind the same address
//! does not shut the owner out. Nothing an attempt comes to says whether the account
//! exists. Both tables are bounded; what is dropped from them first is what guards least.
//! The argument stands in docs/decisions/0042-tls.md.

use super::LockoutOptions;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Accounts, and pairs of an account and a party, remembered at most.
const TABLE: usize = 4096;
/// So many times the failures that lock an address guard an account.
const FACTOR: u32 = 4;
/// Between two attempts of strangers at a guarded account, at first.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// And at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long who logged in is no stranger.
const LATELY: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Parties that an account knows at most: the latest.
const KNOWN: usize = 16;

/// Attempts, one at a time, with a pause that grows.
#[derive(Debug)]
struct Turns {
    pause: Duration,
    /// When the next one is.
    next: Instant,
}

impl Turns {
    /// The first one is at `next`.
    fn from(next: Instant) -> Turns {
        Turns { pause: FIRST_PAUSE, next }
    }

    fn waits(&self, now: Instant) -> Option<Duration> {
        self.next.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    fn take(&mut self, now: Instant) {
        self.next = now + self.pause;
    }

    fn failed(&mut self, multiplier: u32, now: Instant) {
        self.pause = self.pause.saturating_mul(multiplier).min(LONGEST_PAUSE);
        self.next = self.next.max(now + self.pause);
    }
}

/// A party that has logged in to an account.
#[derive(Debug)]
struct Known {
    /// When it did last.
    at: Instant,
    /// What it has of turns, its address being locked.
    turns: Option<Turns>,
}

#[derive(Debug)]
struct Account {
    /// Of strangers, with no quiet time in between.
    failures: u32,
    /// Of strangers: it is guarded.
    guard: Option<Turns>,
    /// The end of the quiet time that makes it as new.
    forget_at: Instant,
}

impl Known {
    fn is_lately(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < LATELY
    }
}

/// See the top of the file. Accounts are hashes of their users' names.
#[derive(Debug)]
pub(super) struct Accounts {
    limit: u32,
    quiet: Duration,
    multiplier: u32,
    accounts: BTreeMap<u64, Account>,
    /// Those who have logged in.
    known: BTreeMap<(u64, IpAddr), Known>,
    /// The turns of the server's own machine at accounts it has not logged in to, all
    /// together.
    here: Option<Turns>,
}

impl Accounts {
    pub(super) fn new(options: LockoutOptions) -> Accounts {
        Accounts {
            limit: options.max_failed_attempts.max(1).saturating_mul(FACTOR),
            // Longer than any pause, or waiting would end the guard.
            quiet: options.lockout_duration.clamp(2 * LONGEST_PAUSE, super::LONGEST),
            multiplier: options.lockout_multiplier.max(1),
            accounts: BTreeMap::new(),
            known: BTreeMap::new(),
            here: None,
        }
    }

    /// Whether `party` has logged in as `user` lately.
    pub(super) fn is_known(&self, user: u64, party: IpAddr, now: Instant) -> bool {
        self.known.get(&(user, party)).is_some_and(|known| known.is_lately(now))
    }

    fn is_stranger(&self, user: u64, party: IpAddr, now: Instant) -> bool {
        !self.is_known(user, party, now) && !party.is_loopback()
    }

    /// How long `party`, whose address is locked, must wait for its turn at `user`; `None`:
    /// it has no turns there, and waits for the end of the lock.
    pub(super) fn waits_locked(&self, user: u64, party: IpAddr, now: Instant) -> Option<Duration> {
        if self.is_stranger(user, party, now) {
            return None;
        }
        let known = self.known.get(&(user, party)).filter(|known| known.is_lately(now));
        let turns = known.map_or(self.here.as_ref(), |known| known.turns.as_ref());
        Some(turns.and_then(|turns| turns.waits(now)).unwrap_or_default())
    }

    /// The turns of `party` at `user`, its address being locked; `None`: it has none.
    fn turns(&mut self, user: u64, party: IpAddr, now: Instant) -> Option<&mut Turns> {
        if self.is_stranger(user, party, now) {
            return None;
        }
        let known = self.known.get_mut(&(user, party)).filter(|known| known.is_lately(now));
        let turns = known.map_or(&mut self.here, |known| &mut known.turns);
        // A quiet time makes them as new.
        turns.take_if(|turns| turns.next + self.quiet <= now);
        Some(turns.get_or_insert_with(|| Turns::from(now)))
    }

    /// `party`, whose address is locked, tries to be `user`: the next must wait.
    pub(super) fn entered_locked(&mut self, user: u64, party: IpAddr, now: Instant) {
        if let Some(turns) = self.turns(user, party, now) {
            turns.take(now);
        }
    }

    /// `party`, whose address is locked, failed to be `user`. Says whether it had a turn:
    /// then the lock has nothing to do with it.
    pub(super) fn failed_locked(&mut self, user: u64, party: IpAddr, now: Instant) -> bool {
        let multiplier = self.multiplier;
        let turns = self.turns(user, party, now);
        turns.map(|turns| turns.failed(multiplier, now)).is_some()
    }

    fn guard(&self, user: u64, now: Instant) -> Option<&Turns> {
        self.accounts.get(&user).filter(|account| account.forget_at > now)?.guard.as_ref()
    }

    /// How long `party` must wait before it may try to be `user`.
    pub(super) fn waits(&self, user: u64, party: IpAddr, now: Instant) -> Option<Duration> {
        let guard = self.guard(user, now).filter(|_| self.is_stranger(user, party, now))?;
        guard.waits(now)
    }

    /// `party` tries to be `user`: if it is a stranger, the next must wait.
    pub(super) fn entered(&mut self, user: u64, party: IpAddr, now: Instant) {
        if self.guard(user, now).is_some()
            && self.is_stranger(user, party, now)
            && let Some(guard) = self.accounts.get_mut(&user).and_then(|a| a.guard.as_mut())
        {
            guard.take(now);
        }
    }

    /// `party` failed to be `user`. Says whether the account is guarded from now on and
    /// was not before.
    pub(super) fn failed(&mut self, user: u64, party: IpAddr, now: Instant) -> bool {
        if !self.is_stranger(user, party, now) {
            return false;
        }
        self.make_room(user, now);
        let forget_at = now + self.quiet;
        let new = Account { failures: 0, guard: None, forget_at };
        let account = self.accounts.entry(user).or_insert(new);
        account.failures = account.failures.saturating_add(1);
        account.forget_at = forget_at;
        match &mut account.guard {
            Some(guard) => {
                guard.failed(self.multiplier, now);
                false
            }
            None if account.failures < self.limit => false,
            None => {
                account.guard = Some(Turns::from(now + FIRST_PAUSE));
                true
            }
        }
    }

    /// `party` logged in as `user`. It is known from now on; the guard stays, since
    /// those who guess have not gone. Its own turn it gets back, so that many sessions of
    /// an owner whose address is locked are not a pause apart.
    pub(super) fn succeeded(&mut self, user: u64, party: IpAddr, now: Instant) {
        let known = self.known.entry((user, party)).or_insert(Known { at: now, turns: None });
        known.at = now;
        if let Some(turns) = &mut known.turns {
            turns.next = now;
        }
        let first = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let last = IpAddr::V6(Ipv6Addr::from(u128::MAX));
        let of_user = self.known.range((user, first)..=(user, last));
        let oldest = |(key, known): (&(u64, IpAddr), &Known)| (known.at, *key);
        if of_user.clone().count() > KNOWN
            && let Some((_, key)) = of_user.map(oldest).min()
        {
            self.known.remove(&key);
        }
        if self.known.len() > TABLE
            && let Some((_, key)) = self.known.iter().map(oldest).min()
        {
            self.known.remove(&key);
        }
    }

    fn make_room(&mut self, user: u64, now: Instant) {
        if self.accounts.get(&user).is_some_and(|account| account.forget_at <= now) {
            self.accounts.remove(&user);
        }
        if self.accounts.len() < TABLE || self.accounts.contains_key(&user) {
            return;
        }
        self.accounts.retain(|_, account| account.forget_at > now);
        if self.accounts.len() < TABLE {
            return;
        }
        let weight = |(user, a): (&u64, &Account)| (a.failures, a.forget_at, *user);
        if let Some((_, _, least)) = self.accounts.iter().map(weight).min() {
            self.accounts.remove(&least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_secs(120);
    const MOMENT: Duration = Duration::from_millis(1);
    const ADMIN: u64 = 7;
    const OWNER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn stranger(n: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + n).into())
    }

    /// Guards after twelve failures, forgets after two minutes.
    fn table() -> (Accounts, Instant) {
        let options = LockoutOptions {
            max_failed_attempts: 3,
            lockout_duration: LONGEST_PAUSE,
            lockout_multiplier: 2,
        };
        (Accounts::new(options), Instant::now())
    }

    fn guarded() -> (Accounts, Instant) {
        let (mut table, now) = table();
        let said: Vec<bool> = (0..12).map(|n| table.failed(ADMIN, stranger(n), now)).collect();
        assert_eq!(said.iter().position(|said| *said), Some(11), "the last alone");
        (table, now)
    }

    #[test]
    fn the_last_failure_allowed_is_not_the_one_too_many() {
        let (mut table, now) = table();
        for n in 0..11 {
            assert!(!table.failed(ADMIN, stranger(n), now));
        }
        assert_eq!(table.waits(ADMIN, OWNER, now), None);
        assert!(table.failed(ADMIN, stranger(0), now), "one party or many");
        assert_eq!(table.waits(ADMIN, OWNER, now), Some(FIRST_PAUSE));
        assert_eq!(table.waits(ADMIN + 1, OWNER, now), None, "another account");
    }

    #[test]
    fn strangers_take_turns() {
        let (mut table, now) = guarded();
        let turn = now + FIRST_PAUSE;
        assert_eq!(table.waits(ADMIN, stranger(50), turn - MOMENT), Some(MOMENT));
        assert_eq!(table.waits(ADMIN, stranger(50), turn), None);
        table.entered(ADMIN, stranger(50), turn);
        assert_eq!(table.waits(ADMIN, stranger(51), turn), Some(FIRST_PAUSE));
    }

    #[test]
    fn the_pause_grows_to_its_bound_and_there_is_always_a_next_turn() {
        let (mut table, mut now) = guarded();
        let mut pauses = Vec::new();
        for n in 0..40 {
            now += table.waits(ADMIN, stranger(n), now).unwrap();
            table.entered(ADMIN, stranger(n), now);
            assert!(!table.failed(ADMIN, stranger(n), now), "told once");
            pauses.push(table.waits(ADMIN, stranger(n), now).unwrap().as_secs());
        }
        assert_eq!(pauses[..8], [2, 4, 8, 16, 32, 60, 60, 60]);
        assert!(pauses[8..].iter().all(|pause| *pause == LONGEST_PAUSE.as_secs()));
        // The owner at a new place has the next turn like anybody, and then a way in.
        now += LONGEST_PAUSE - MOMENT;
        assert_eq!(table.waits(ADMIN, OWNER, now), Some(MOMENT));
        now += MOMENT;
        assert!(table.guard(ADMIN, now).is_some() && table.waits(ADMIN, OWNER, now).is_none());
    }

    #[test]
    fn who_logged_in_lately_enters_and_takes_nobodys_turn() {
        let (mut table, start) = table();
        table.succeeded(ADMIN, OWNER, start);
        let attacked = start + LATELY - LONGEST_PAUSE;
        for n in 0..12 {
            table.failed(ADMIN, stranger(n), attacked);
        }
        assert_eq!(table.waits(ADMIN, OWNER, attacked), None);
        assert!(table.waits(ADMIN + 1, OWNER, attacked).is_none());
        let turn = attacked + FIRST_PAUSE;
        table.entered(ADMIN, OWNER, turn);
        assert_eq!(table.waits(ADMIN, stranger(1), turn), None, "its turn is left");
        assert!(!table.failed(ADMIN, OWNER, turn));
        assert_eq!(table.accounts[&ADMIN].failures, 12, "a mistake of its own counts elsewhere");
        // It stays under attack until the owner's last log-in is a week ago.
        for second in 0..60 {
            table.failed(ADMIN, stranger(second), start + LATELY - Duration::from_secs(1));
        }
        assert_eq!(table.waits(ADMIN, OWNER, start + LATELY - MOMENT), None);
        assert!(table.waits(ADMIN, OWNER, start + LATELY).is_some(), "a stranger again");
    }

    #[test]
    fn the_servers_own_machine_is_no_stranger() {
        let (mut table, now) = guarded();
        for here in ["127.0.0.1", "127.9.9.9"] {
            assert_eq!(table.waits(ADMIN, here.parse().unwrap(), now), None, "{here}");
        }
        let here = super::super::party("::1".parse().unwrap());
        assert_eq!(table.waits(ADMIN, here, now), None);
        for _ in 0..100 {
            assert!(!table.failed(ADMIN + 1, here, now), "its address is locked instead");
        }
    }

    #[test]
    fn a_success_does_not_lift_the_guard_and_a_quiet_time_does() {
        let (mut table, now) = guarded();
        table.succeeded(ADMIN, OWNER, now);
        assert_eq!(table.waits(ADMIN, stranger(99), now), Some(FIRST_PAUSE));
        assert!(table.guard(ADMIN, now + QUIET - MOMENT).is_some());
        assert!(table.guard(ADMIN, now + QUIET).is_none());
        for n in 0..11 {
            assert!(!table.failed(ADMIN, stranger(n), now + QUIET), "it begins anew");
        }
        assert!(table.failed(ADMIN, stranger(0), now + QUIET));
    }

    #[test]
    fn both_tables_are_bounded_and_keep_what_guards() {
        let (mut table, now) = guarded();
        for user in 100..4_400 {
            table.failed(user, stranger(1), now);
        }
        assert_eq!(table.accounts.len(), TABLE);
        assert!(table.guard(ADMIN, now).is_some(), "one failure each drops none of many");
        for n in 0..100 {
            table.succeeded(ADMIN, stranger(n), now + Duration::from_secs(u64::from(n)));
        }
        assert_eq!(table.known.len(), KNOWN);
        let late = now + Duration::from_secs(100);
        assert!(!table.is_stranger(ADMIN, stranger(99), late));
        assert!(table.is_stranger(ADMIN, stranger(83), late));
        assert!(!table.is_stranger(ADMIN, stranger(84), late));
        for user in 100..4_400 {
            table.succeeded(user, stranger(1), late);
        }
        assert_eq!(table.known.len(), TABLE);
    }
}
