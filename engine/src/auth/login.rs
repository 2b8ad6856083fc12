//! Keys: made, hashed, compared.
//!
//! What must stay true: an unknown user costs what a known one costs, and one of many
//! keys what one of a single key costs: one hash. At most [`SLOTS`] hashes are computed at
//! once, 19 MiB each, and the others wait.

use argon2::password_hash::{Output, ParamsString, PasswordHash, Salt, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use parking_lot::{Condvar, Mutex};
use platform::Entropy;
use proto::Status;

use crate::error::shown;
use crate::{Engine, Principal, Refusal};

/// KiB of memory of one hash.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Bytes of a hash.
const OUTPUT: usize = Params::DEFAULT_OUTPUT_LEN;
/// Bytes that no allocator keeps for later.
const GIVEN_BACK: usize = 40 << 20;
/// Hashes computed at once.
const SLOTS: usize = 4;

/// Digits of a key that was made that are its id.
pub(crate) const KEY_ID: usize = 16;

/// The user made at first start.
const ADMIN: &str = "admin";

/// Compared with when there is no such user: no key is known that fits it.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA\
                     $AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Room for so many hashes at once.
pub(crate) struct Slots {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Slots {
    pub(crate) fn new() -> Self {
        Slots { free: Mutex::new(SLOTS), freed: Condvar::new() }
    }

    fn with<T>(&self, f: impl FnOnce() -> T) -> T {
        let mut free = self.free.lock();
        while *free == 0 {
            self.freed.wait(&mut free);
        }
        *free -= 1;
        drop(free);
        let _taken = Taken(self);
        f()
    }
}

/// One of the slots, given back on drop: one that fell over must not be gone for good.
struct Taken<'s>(&'s Slots);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.0.free.lock() += 1;
        self.0.freed.notify_one();
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the constants are in bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// The key that a user is to have.
#[derive(Clone, Copy)]
pub(crate) enum KeyWish<'a> {
    /// This one.
    Given(&'a str),
    /// One that is made, and told once.
    Made,
}

/// Bytes of the shortest key that can be chosen, and of the longest.
const MIN_KEY: usize = 12;
const MAX_KEY: usize = 1024;

/// Whether a key can be chosen. A message never has the key in it, nor a part of it.
fn check_chosen(key: &str) -> Result<(), Refusal> {
    let fault = if key.len() < MIN_KEY {
        "is too short"
    } else if key.len() > MAX_KEY {
        "is too long"
    } else if key.chars().any(|c| c.is_whitespace() || c.is_control()) {
        "holds a space, a line break or another control character"
    } else {
        return Ok(());
    };
    let message = format!(
        "the key {fault}: choose {MIN_KEY} to {MAX_KEY} bytes of text without space, or leave it out \
         and one of 256 random bits is made"
    );
    Err(Refusal::new(Status::BadUser, message))
}

/// A PHC string for `key`, under a salt of its own.
fn hash(key: &str, entropy: &dyn Entropy) -> Result<String, Refusal> {
    let mut salt = [0; 16];
    entropy.fill(&mut salt);
    let failed = |e: &dyn std::fmt::Display| {
        Refusal::new(
            Status::Internal,
            format!("the key could not be hashed: {e}; please report this"),
        )
    };
    let params = ParamsString::try_from(argon2().params()).map_err(|e| failed(&e))?;
    let output = digest(&argon2(), key, &salt).map_err(|e| failed(&e))?;
    let salt = SaltString::encode_b64(&salt).map_err(|e| failed(&e))?;
    let phc = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params,
        salt: Some(salt.as_salt()),
        hash: Some(output),
    };
    Ok(phc.to_string())
}

/// Whether a hash of [`hash`] is that of this key. Outputs compare in constant time.
fn fits(key: &str, phc: &str) -> bool {
    let Ok(phc) = PasswordHash::new(phc) else { return false };
    let (Ok(params), Some(salt), Some(output)) = (Params::try_from(&phc), phc.salt, phc.hash)
    else {
        return false;
    };
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut bytes = [0; Salt::MAX_LENGTH];
    let computed = salt.decode_b64(&mut bytes).and_then(|salt| digest(&argon2, key, salt));
    computed.is_ok_and(|computed| computed == output)
}

/// What argon2id makes of a key.
///
/// Its memory is asked for in one piece that is too large for an allocator to keep: glibc
/// gives what is over 32 MiB back to the system when it is freed, and would keep 19 MiB in
/// the arena of each thread that ever checked a key (measured: 480 MiB after 40 log-ins).
/// What is not touched of it is never there.
fn digest(
    argon2: &Argon2<'_>,
    key: &str,
    salt: &[u8],
) -> Result<Output, argon2::password_hash::Error> {
    let blocks = argon2.params().block_count();
    let mut memory = Vec::with_capacity(blocks.max(GIVEN_BACK / Block::SIZE));
    memory.resize(blocks, Block::default());
    let mut output = [0; OUTPUT];
    argon2.hash_password_into_with_memory(key.as_bytes(), salt, &mut output, &mut memory[..])?;
    Output::new(&output)
}

/// 256 random bits as 64 hexadecimal digits.
fn new_key(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A key as it will be kept, and told.
pub(crate) struct HashedKey {
    /// Of one that was made: its first digits. They are kept as they are, and say which
    /// of a user's hashes a key is to be compared with; 192 random bits are left.
    pub(crate) id: Option<String>,
    /// A PHC string of argon2id.
    pub(crate) hash: String,
    /// One that was made, to be told once.
    pub(crate) made: Option<String>,
}

impl Engine {
    /// The key that is wished for, hashed, at the pace of who asks for it.
    pub(crate) fn hashed(&self, who: &Principal, wish: KeyWish<'_>) -> Result<HashedKey, Refusal> {
        if let KeyWish::Given(key) = wish {
            check_chosen(key)?;
        }
        let _works = self.pace.turn(who, self.clock.monotonic_nanos())?;
        let hashed = |key: &str| self.slots.with(|| hash(key, &*self.entropy));
        match wish {
            KeyWish::Given(key) => Ok(HashedKey { id: None, hash: hashed(key)?, made: None }),
            KeyWish::Made => {
                let key = new_key(&*self.entropy);
                let id = Some(key[..KEY_ID].to_owned());
                Ok(HashedKey { id, hash: hashed(&key)?, made: Some(key) })
            }
        }
    }

    /// As [`Engine::authenticate_from`] nowhere in particular.
    ///
    /// # Errors
    /// As there.
    pub fn authenticate(&self, user: &str, key: &str) -> Result<Principal, Refusal> {
        self.authenticate_from(user, key, None)
    }

    /// The user of that name, if the key is one of theirs, in a session of its own: say
    /// [`Engine::end_session`] at its end. `address` is where they call from, for the
    /// audit log. Takes tens of milliseconds and 19 MiB on purpose: never call it on an
    /// async thread.
    ///
    /// # Errors
    /// [`Status::BadCredentials`], in the same words and time for a wrong user as for a
    /// wrong key, however many keys the user has. Who has a key that has expired is told.
    pub fn authenticate_from(
        &self,
        user: &str,
        key: &str,
        address: Option<&str>,
    ) -> Result<Principal, Refusal> {
        let entered = self.enter(user, key, address);
        self.audit_log_in(user, address, &entered);
        entered
    }

    fn enter(&self, user: &str, key: &str, address: Option<&str>) -> Result<Principal, Refusal> {
        let catalog = self.catalogs.read();
        let known = catalog.users.get(user);
        // One hash is computed, whoever there is and whatever they have.
        let theirs = known.and_then(|user| user.key_for(key));
        let phc = theirs.map_or(DECOY, |key| &key.hash);
        let fits = self.slots.with(|| fits(key, phc));
        match (known, theirs) {
            (Some(_), Some(key)) if fits && key.is_over(&*self.clock) => {
                let message = format!(
                    "the key {} of user {} has expired: use another one, or ask an admin for one",
                    shown(&key.name),
                    shown(user)
                );
                Err(Refusal::new(Status::BadCredentials, message))
            }
            (Some(known), Some(key)) if fits => {
                Ok(Principal::entered(user, known, key, self.begin_session()).calling_from(address))
            }
            _ => {
                let message = "the user or the key is wrong: check both; the admin's key is in \
                               the file whose path was printed at first start";
                Err(Refusal::new(Status::BadCredentials, message))
            }
        }
    }

    /// When there is no admin, as at first start: makes the user `admin` with a random
    /// key of 256 bits, and returns it, once, as 64 hexadecimal digits. It is stored
    /// nowhere; [`Engine::ensure_admin_saved`] is safer.
    ///
    /// # Errors
    /// Those of a commit; no user was made.
    pub fn ensure_admin(&self) -> Result<Option<String>, Refusal> {
        let mut made = None;
        self.ensure_admin_saved(|key| {
            made = Some(key.to_owned());
            Ok(())
        })?;
        Ok(made)
    }

    /// As [`Engine::ensure_admin`], but hands the key to `save` before the user is
    /// made, so that no crash leaves an admin whose key nobody has: the next start
    /// makes another and saves that. The user is durable when this returns. Says
    /// whether one was made. If there is a user `admin` that is no admin, they become
    /// one, and have this key alone.
    ///
    /// # Errors
    /// That `save` failed, or the commit; no user was made.
    pub fn ensure_admin_saved(
        &self,
        save: impl FnOnce(&str) -> std::io::Result<()>,
    ) -> Result<bool, Refusal> {
        let deed = self.own_deed("CreateUser", ADMIN);
        let made = self.catalogs.change(&self.lsm, &deed, |draft| {
            if draft.has_admin() {
                return Ok(false);
            }
            let key = new_key(&*self.entropy);
            let hash = self.slots.with(|| hash(&key, &*self.entropy))?;
            save(&key).map_err(|e| {
                let message = format!(
                    "the admin's key could not be saved: {e}; no user was made: mend that and \
                     start again"
                );
                Refusal::new(Status::Io, message)
            })?;
            let id = Some(key[..KEY_ID].to_owned());
            draft.make_admin(ADMIN, HashedKey { id, hash, made: None }, self.now_millis())?;
            Ok(true)
        });
        let made = made.and_then(|made| if made { self.sync().map(|_| true) } else { Ok(false) });
        if made != Ok(false) {
            deed.end(made.as_ref().err());
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_that_falls_over_gives_its_slot_back() {
        let slots = Slots::new();
        for _ in 0..SLOTS {
            let fallen = std::panic::AssertUnwindSafe(|| slots.with(|| panic!("as asked for")));
            assert!(std::panic::catch_unwind(fallen).is_err());
        }
        // Else this would wait for ever.
        assert_eq!(*slots.free.lock(), SLOTS);
        assert_eq!(slots.with(|| 7), 7);
    }

    #[test]
    fn the_decoy_is_a_hash_of_the_same_cost_that_no_key_fits() {
        let decoy = PasswordHash::new(DECOY).unwrap();
        let real = hash("k", &platform::sim::SimEntropy::new(1)).unwrap();
        let real = PasswordHash::new(&real).unwrap();
        assert_eq!(decoy.algorithm, real.algorithm);
        assert_eq!(decoy.version, real.version);
        for cost in ["m", "t", "p"] {
            assert_eq!(decoy.params.get_decimal(cost), real.params.get_decimal(cost), "{cost}");
        }
        assert_eq!(decoy.hash.unwrap().len(), real.hash.unwrap().len());
        assert!(!fits("", DECOY));
    }
}
