//! Who has failed to authenticate too often, and for how long it must wait.
//!
//! What must stay true: what is locked is an address, never an account, so a
//! stranger can lock out nobody but those who share its address; and of those nobody
//! from an account they have logged in to from there: that they may try one at a time,
//! with pauses. An account that is guessed at from many addresses is guarded
//! (`accounts.rs`), which slows strangers and nobody else. A success forgives only the failures of the same user: who owns
//! one account cannot use it to guess at another for ever. The tables are bounded.
//! No clock in here: `now` is given.

mod accounts;

use accounts::Accounts;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Addresses remembered at most. Beyond, the one that matters least is forgotten.
const TABLE: usize = 4096;
/// However often it doubled, a lock does not last longer.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What somebody must wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Its address is locked, for so long.
    Address(Duration),
    /// The account it tries is guarded, and it is a stranger there.
    Account(Duration),
}

/// What a failed attempt came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failure {
    /// It was one too many of its address, which is locked for so long.
    pub(crate) address_locked: Option<Duration>,
    /// It was one too many at its account, which is guarded now.
    pub(crate) account_guarded: bool,
}

/// `security.*` of db.yaml.
#[derive(Clone, Copy, Debug)]
pub struct LockoutOptions {
    /// Failures from one address, within the duration of its next lock, that lock it. 0 is
    /// taken as 1.
    pub max_failed_attempts: u32,
    /// How long the first lock lasts.
    pub lockout_duration: Duration,
    /// How many times longer each next lock of the same address lasts.
    pub lockout_multiplier: u32,
}

impl Default for LockoutOptions {
    fn default() -> Self {
        LockoutOptions {
            max_failed_attempts: 5,
            lockout_duration: Duration::from_millis(900_000),
            lockout_multiplier: 2,
        }
    }
}

#[derive(Debug)]
struct Entry {
    /// Recent failures: when, and a hash of the user tried.
    failures: Vec<(Instant, u64)>,
    /// Locks so far.
    locks: u32,
    locked_until: Option<Instant>,
    /// Nothing to remember from then on.
    forget_at: Instant,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Lockout {
    options: LockoutOptions,
    entries: BTreeMap<IpAddr, Entry>,
    accounts: Accounts,
}

/// Addresses that one party commonly holds together count as one: an IPv6 /64, and all
/// of the server's own machine.
pub(crate) fn party(address: IpAddr) -> IpAddr {
    match neighbourhood(address) {
        _ if address.to_canonical().is_loopback() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        other => other,
    }
}

/// As [`party`], but that programs of one machine are not one: of places each of its
/// addresses has a share of its own.
pub(crate) fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
    }
}

fn hash(user: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    user.hash(&mut hasher);
    hasher.finish()
}

impl Lockout {
    pub(crate) fn new(options: LockoutOptions) -> Self {
        Lockout { options, entries: BTreeMap::new(), accounts: Accounts::new(options) }
    }

    /// What somebody at `address` must wait for before it may try to be `user`.
    pub(crate) fn locked(&self, address: IpAddr, user: &str, now: Instant) -> Option<Lock> {
        if let Some(left) = self.address_locked(address, now) {
            let turn = self.accounts.waits_locked(hash(user), party(address), now);
            let wait = turn.map_or(left, |turn| turn.min(left));
            return Some(Lock::Address(wait)).filter(|_| !wait.is_zero());
        }
        self.accounts.waits(hash(user), party(address), now).map(Lock::Account)
    }

    /// As [`Lockout::locked`]; without a lock, this is one of the attempts that a
    /// guarded account lets strangers have, or a locked address those who are known.
    pub(crate) fn enter(&mut self, address: IpAddr, user: &str, now: Instant) -> Option<Lock> {
        let lock = self.locked(address, user, now);
        if lock.is_none() {
            match self.address_locked(address, now) {
                Some(_) => self.accounts.entered_locked(hash(user), party(address), now),
                None => self.accounts.entered(hash(user), party(address), now),
            }
        }
        lock
    }

    /// Whether `user` has authenticated from `address` lately.
    pub(crate) fn is_known(&self, address: IpAddr, user: &str, now: Instant) -> bool {
        self.accounts.is_known(hash(user), party(address), now)
    }

    fn address_locked(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let until = self.entries.get(&party(address))?.locked_until?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Somebody at `address` failed to be `user`.
    pub(crate) fn failed(&mut self, address: IpAddr, user: &str, now: Instant) -> Failure {
        // A lock that lets some have turns is not made longer by them: a pause has paid.
        if self.address_locked(address, now).is_some()
            && self.accounts.failed_locked(hash(user), party(address), now)
        {
            return Failure::default();
        }
        let address_locked = self.address_failed(address, user, now);
        if address_locked.is_some() {
            // That was the first of the turns.
            self.accounts.entered_locked(hash(user), party(address), now);
        }
        Failure {
            address_locked,
            account_guarded: self.accounts.failed(hash(user), party(address), now),
        }
    }

    fn address_failed(&mut self, address: IpAddr, user: &str, now: Instant) -> Option<Duration> {
        let address = party(address);
        self.make_room(address, now);
        let (base, multiplier) = (self.options.lockout_duration, self.options.lockout_multiplier);
        let duration = |locks: u32| {
            multiplier
                .checked_pow(locks)
                .and_then(|times| base.checked_mul(times))
                .map_or(LONGEST, |longer| longer.clamp(base.min(LONGEST), LONGEST))
        };
        let entry = self.entries.entry(address).or_insert_with(|| Entry {
            failures: Vec::new(),
            locks: 0,
            locked_until: None,
            forget_at: now,
        });
        let next = duration(entry.locks);
        entry.failures.retain(|(at, _)| now.saturating_duration_since(*at) < next);
        entry.failures.push((now, hash(user)));
        if (entry.failures.len() as u64) < u64::from(self.options.max_failed_attempts.max(1)) {
            entry.forget_at = entry.forget_at.max(now + next);
            return None;
        }
        entry.failures.clear();
        entry.locks = entry.locks.saturating_add(1);
        entry.locked_until = Some(now + next);
        // A quiet time as long as the lock itself earns a clean slate.
        entry.forget_at = now + next + next;
        Some(next)
    }

    /// `user` authenticated from `address`.
    pub(crate) fn succeeded(&mut self, address: IpAddr, user: &str, now: Instant) {
        let (party, user) = (party(address), hash(user));
        if let Some(entry) = self.entries.get_mut(&party) {
            entry.failures.retain(|(_, failed)| *failed != user);
        }
        self.accounts.succeeded(user, party, now);
    }

    fn make_room(&mut self, address: IpAddr, now: Instant) {
        if let Some(entry) = self.entries.get(&address)
            && entry.forget_at <= now
        {
            self.entries.remove(&address);
        }
        if self.entries.len() < TABLE || self.entries.contains_key(&address) {
            return;
        }
        self.entries.retain(|_, entry| entry.forget_at > now);
        if self.entries.len() < TABLE {
            return;
        }
        let least =
            self.entries.iter().min_by_key(|(_, e)| (e.locked_until.is_some(), e.forget_at));
        if let Some(least) = least.map(|(address, _)| *address) {
            self.entries.remove(&least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
    const MINUTE: Duration = Duration::from_secs(60);

    fn table() -> (Lockout, Instant) {
        let options = LockoutOptions {
            max_failed_attempts: 3,
            lockout_duration: MINUTE,
            lockout_multiplier: 2,
        };
        (Lockout::new(options), Instant::now())
    }

    fn fail(table: &mut Lockout, times: usize, now: Instant) -> Option<Duration> {
        (0..times).map(|_| table.failed(A, "admin", now).address_locked).last().flatten()
    }

    fn locked(table: &Lockout, address: IpAddr, now: Instant) -> Option<Duration> {
        table.address_locked(address, now)
    }

    #[test]
    fn the_third_failure_locks_the_address_and_no_other() {
        let (mut table, now) = table();
        assert_eq!(fail(&mut table, 2, now), None);
        assert_eq!(locked(&table, A, now), None);
        assert_eq!(fail(&mut table, 1, now), Some(MINUTE));
        assert_eq!(locked(&table, A, now), Some(MINUTE));
        assert_eq!(locked(&table, B, now), None);
        assert_eq!(locked(&table, A, now + MINUTE), None);
    }

    #[test]
    fn each_next_lock_doubles_until_a_quiet_time() {
        let (mut table, now) = table();
        fail(&mut table, 3, now);
        assert_eq!(fail(&mut table, 3, now + MINUTE), Some(2 * MINUTE));
        assert_eq!(fail(&mut table, 3, now + 3 * MINUTE), Some(4 * MINUTE));
        assert_eq!(fail(&mut table, 3, now + 11 * MINUTE), Some(MINUTE), "forgotten");
    }

    #[test]
    fn failures_far_apart_do_not_add_up() {
        let (mut table, now) = table();
        for n in 0..9 {
            assert_eq!(fail(&mut table, 1, now + n * MINUTE / 2), None, "failure {n}");
        }
    }

    #[test]
    fn a_success_forgives_its_own_user_only() {
        let (mut table, now) = table();
        table.failed(A, "admin", now);
        table.failed(A, "admin", now);
        table.succeeded(A, "mallory", now);
        assert!(fail(&mut table, 1, now).is_some());
        let (mut table, now) = self::table();
        table.failed(A, "admin", now);
        table.failed(A, "admin", now);
        table.succeeded(A, "admin", now);
        assert!(fail(&mut table, 1, now).is_none());
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let (mut table, now) = table();
        for host in ["2001:db8::1", "2001:db8::2", "2001:db8::3"] {
            table.failed(host.parse().unwrap(), "admin", now);
        }
        assert!(locked(&table, "2001:db8::9".parse().unwrap(), now).is_some());
        assert!(locked(&table, "2001:db8:0:1::9".parse().unwrap(), now).is_none());
    }

    #[test]
    fn the_lock_of_an_address_comes_before_the_guard_of_an_account() {
        let (mut table, now) = table();
        let stranger = |n: u32| IpAddr::V4((0xc633_6400 + n).into());
        // Twelve failures from six addresses, none of which is locked.
        let guarded: Vec<bool> = (0..12)
            .map(|n| table.failed(stranger(n / 2), "admin", now))
            .map(|failure| {
                assert_eq!(failure.address_locked, None);
                failure.account_guarded
            })
            .collect();
        assert_eq!(guarded.iter().position(|guarded| *guarded), Some(11));
        assert!(matches!(table.locked(B, "admin", now), Some(Lock::Account(_))));
        assert_eq!(table.locked(B, "root", now), None, "another account");
        let third = table.failed(stranger(0), "admin", now);
        assert_eq!(third, Failure { address_locked: Some(MINUTE), account_guarded: false });
        assert_eq!(table.locked(stranger(0), "admin", now), Some(Lock::Address(MINUTE)));
    }

    #[test]
    fn who_has_logged_in_from_a_locked_address_takes_turns_there() {
        let (mut table, start) = table();
        table.succeeded(A, "ann", start);
        // A neighbour behind the same address guesses at the very account, and locks it.
        let mut now = start + Duration::from_secs(7);
        for _ in 0..3 {
            assert_eq!(table.enter(A, "ann", now), None);
            table.failed(A, "ann", now);
        }
        assert_eq!(table.address_locked(A, now), Some(MINUTE));
        let second = Duration::from_secs(1);
        assert_eq!(table.enter(A, "ann", now), Some(Lock::Address(second)));
        now += second;
        // The owner comes in, again and again; nobody else does, nor they elsewhere.
        for _ in 0..3 {
            assert_eq!(table.enter(A, "ann", now), None);
            table.succeeded(A, "ann", now);
        }
        for other in ["bob", "admin"] {
            assert_eq!(table.enter(A, other, now), Some(Lock::Address(MINUTE - second)));
        }
        assert_eq!(table.enter(B, "ann", now), None, "another address");
        // Guesses are one at a time, with a pause that grows, and do not lengthen the lock.
        let mut pauses = Vec::new();
        while table.address_locked(A, now).is_some() {
            assert_eq!(table.enter(A, "ann", now), None);
            let at_once = table.enter(A, "ann", now);
            assert!(matches!(at_once, Some(Lock::Address(_))), "one at a time: {at_once:?}");
            assert_eq!(table.failed(A, "ann", now), Failure::default());
            let Some(Lock::Address(pause)) = table.locked(A, "ann", now) else { panic!() };
            pauses.push(pause.as_secs());
            now += pause;
        }
        assert_eq!(pauses, [2, 4, 8, 16, 29], "the last is what is left of the lock");
        // The next lock goes on with them, and a quiet time ends them.
        fail(&mut table, 3, now);
        let Some(Lock::Address(pause)) = table.locked(A, "ann", now) else { panic!() };
        assert_eq!(pause.as_secs(), 3, "what is left of the last pause");
        now += 10 * MINUTE;
        fail(&mut table, 3, now);
        assert_eq!(table.enter(A, "ann", now), None);
        table.failed(A, "ann", now);
        let Some(Lock::Address(pause)) = table.locked(A, "ann", now) else { panic!() };
        assert_eq!(pause.as_secs(), 2, "as new");
    }

    #[test]
    fn the_servers_own_machine_takes_turns_at_all_accounts_together() {
        let (mut table, now) = table();
        let here = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.2"];
        let here = here.map(|address| address.parse::<IpAddr>().unwrap());
        for address in &here[..3] {
            table.failed(*address, "admin", now);
        }
        assert!(table.address_locked(here[3], now).is_some(), "it is one party");
        let second = Duration::from_secs(1);
        assert_eq!(table.enter(here[0], "ann", now), Some(Lock::Address(second)));
        let now = now + second;
        assert_eq!(table.enter(here[0], "admin", now), None);
        for (address, user) in [(here[1], "admin"), (here[2], "ann"), (here[3], "bob")] {
            let wait = Some(Lock::Address(second));
            assert_eq!(table.enter(address, user, now), wait, "that turn is taken");
        }
        // Who has come in from here has turns that no flood of names takes.
        table.succeeded(here[0], "admin", now);
        for n in 0..100 {
            let user = format!("u{n}");
            if table.enter(here[1], &user, now + MINUTE / 2).is_none() {
                table.failed(here[1], &user, now + MINUTE / 2);
            }
        }
        assert!(table.enter(here[1], "ann", now + MINUTE / 2).is_some());
        assert_eq!(table.enter(here[1], "admin", now + MINUTE / 2), None);
    }

    #[test]
    fn one_attempt_at_a_time_enters_a_guarded_account() {
        let (mut table, now) = table();
        for n in 0..12 {
            table.failed(IpAddr::V4((0xc633_6400 + n / 2).into()), "admin", now);
        }
        let Some(Lock::Account(wait)) = table.enter(A, "admin", now) else { panic!("guarded") };
        assert_eq!(table.enter(A, "admin", now + wait), None);
        let next = table.enter(B, "admin", now + wait);
        assert!(matches!(next, Some(Lock::Account(_))), "that attempt is taken: {next:?}");
        table.succeeded(A, "admin", now + wait);
        assert_eq!(table.enter(A, "admin", now + wait), None, "who got in keeps its way in");
    }

    #[test]
    fn the_table_is_bounded_and_keeps_the_locked() {
        let (mut table, now) = table();
        fail(&mut table, 3, now);
        for n in 0..4_500u32 {
            table.failed(IpAddr::V4((0x0a00_0000 + n).into()), "admin", now);
        }
        assert_eq!(table.entries.len(), TABLE);
        assert!(locked(&table, A, now).is_some());
    }

    #[test]
    fn extreme_options_neither_panic_nor_lock_for_ever() {
        let options = LockoutOptions {
            max_failed_attempts: 0,
            lockout_duration: Duration::from_secs(u64::MAX),
            lockout_multiplier: u32::MAX,
        };
        let (mut table, now) = (Lockout::new(options), Instant::now());
        for _ in 0..40 {
            assert_eq!(fail(&mut table, 1, now), Some(LONGEST));
        }
    }
}
