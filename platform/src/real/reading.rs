//! Reading a file by copying out of a shared mapping: no system call for bytes
//! that are in memory, and a disk that fails is no signal that kills.
//!
//! Must stay true (an `unsafe` module, as are `mapped.rs` and `hint.rs`):
//! * **Memory safety.** [`Reading::read`] checks the range against the mapping's
//!   length before it copies, into memory the vector has reserved. No reference
//!   into the mapped bytes is ever made: they may change under us (a write, another
//!   process), and only raw copies out of them happen. The mapping lives as long
//!   as the value.
//! * **SIGBUS.** Touching a mapped page that the kernel cannot bring in (the disk
//!   fails, the file was cut) raises SIGBUS. A handler, installed before the first
//!   mapping is made, puts a page of zeros of our own in its place if the address
//!   lies in one of our mappings, and the copy goes on. So a reader gets zeros
//!   where the disk failed, from then on for as long as this mapping lives:
//!   [`Mapped`] says so, and its callers verify what they read and go to
//!   `read_at`, which reports the error, with what does not check. Elsewhere the
//!   signal goes to whoever handled it before (the standard library's report of an
//!   exhausted stack; a WASM runtime installed later passes on to us what is not
//!   its own), in the end to the default, which ends the process.
//! * **The handler** calls what is safe in one: loads of atomics and `mmap`, which
//!   is a bare system call; it keeps `errno`. It takes no lock and allocates
//!   nothing. Which addresses are ours it reads from `RANGES`, where one word is
//!   one mapping: it is set before the mapping is given out and cleared before the
//!   kernel may give its addresses to someone else.
//! * At most [`MOST`] mappings are made; then [`Reading::new`] says no, and reads
//!   go by `pread`. The same on systems this was not written for.
#![allow(unsafe_code)]

use std::fs;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use crate::disk::Mapped;

/// Mappings at a time.
const MOST: usize = 1024;
/// A mapping is registered in units of this many bytes (the smallest page).
const UNIT: u64 = 4096;
/// Bytes of a cache line, and how many bytes a hint is worth.
const LINE: usize = 64;
const AHEAD: usize = 512;
/// Bits of the length of a mapping, in units: 1 TiB.
const LEN_BITS: u32 = 28;

/// First unit in the high bits, length in units in the low ones; 0 is free.
static RANGES: [AtomicU64; MOST] = [const { AtomicU64::new(0) }; MOST];
/// Bytes of a page of this system; 0 until the handler is installed.
static PAGE: AtomicUsize = AtomicUsize::new(0);
/// What handled SIGBUS before us. Never freed.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(std::ptr::null_mut());

/// A file's first bytes, mapped for reading.
pub(super) struct Reading {
    map: MmapRaw,
    slot: usize,
}

impl Reading {
    /// Maps the first `len` bytes of `file`, which may have fewer now and more
    /// later; `None` where that is not possible.
    pub(super) fn new(file: &fs::File, len: u64) -> Option<Self> {
        if !cfg!(all(target_os = "linux", target_pointer_width = "64")) || !installed() {
            return None;
        }
        let units = len.div_ceil(UNIT);
        if units == 0 || units >= 1 << LEN_BITS {
            return None;
        }
        let len = usize::try_from(len).ok()?;
        let map = MmapOptions::new().len(len).map_raw_read_only(file).ok()?;
        let start = map.as_ptr() as u64 / UNIT;
        if start == 0 || start >= 1 << (u64::BITS - LEN_BITS) {
            return None;
        }
        let word = start << LEN_BITS | units;
        let slot = RANGES.iter().position(|range| {
            range.compare_exchange(0, word, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })?;
        Some(Self { map, slot })
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // Before the mapping goes, which is when the fields are dropped.
        RANGES[self.slot].store(0, Ordering::Release);
    }
}

impl Mapped for Reading {
    fn read(&self, offset: u64, len: usize, buf: &mut Vec<u8>) -> bool {
        let Ok(start) = usize::try_from(offset) else { return false };
        if start.checked_add(len).is_none_or(|end| end > self.map.len()) {
            return false;
        }
        buf.reserve(len);
        let held = buf.len();
        // SAFETY: `start..start + len` lies within the mapping (checked above),
        // which is readable and lives as long as `self`; `buf` has room for `len`
        // bytes behind `held` (reserved above), and they are all written before
        // its length says so. The two cannot overlap: no vector lies in a file.
        // A page the kernel cannot bring in becomes one of zeros (see the module).
        unsafe {
            std::ptr::copy_nonoverlapping(
                self.map.as_ptr().add(start),
                buf.as_mut_ptr().add(held),
                len,
            );
            buf.set_len(held + len);
        }
        true
    }

    fn prefetch(&self, offset: u64, len: usize) {
        let Ok(start) = usize::try_from(offset) else { return };
        if start.checked_add(len).is_none_or(|end| end > self.map.len()) {
            return;
        }
        #[cfg(target_arch = "x86_64")]
        for at in (start..start + len.min(AHEAD)).step_by(LINE) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: the address lies within the mapping (checked above); a
            // prefetch reads nothing into the program and never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.map.as_ptr().add(at).cast()) }
        }
    }
}

/// Whether our handler stands, installed by the first call.
fn installed() -> bool {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: plain calls of the C library with valid, live arguments: all
        // zeros is a valid `sigaction`, whose fields are then set. `on_bus` has the
        // type that SA_SIGINFO asks for.
        unsafe {
            let Ok(page @ 1..) = usize::try_from(libc::sysconf(libc::_SC_PAGESIZE)) else { return };
            let mut before = Box::new(std::mem::zeroed::<libc::sigaction>());
            // Known before ours can be called: `on_bus` passes on what is not ours.
            if libc::sigaction(libc::SIGBUS, std::ptr::null(), &raw mut *before) != 0 {
                return;
            }
            BEFORE.store(Box::into_raw(before), Ordering::Release);
            let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_bus;
            let mut ours = std::mem::zeroed::<libc::sigaction>();
            ours.sa_sigaction = handler as usize;
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            libc::sigemptyset(&raw mut ours.sa_mask);
            if libc::sigaction(libc::SIGBUS, &raw const ours, std::ptr::null_mut()) == 0 {
                PAGE.store(page, Ordering::Release);
            }
        }
    });
    PAGE.load(Ordering::Acquire) != 0
}

fn is_ours(address: u64) -> bool {
    let unit = address / UNIT;
    RANGES.iter().any(|range| {
        let word = range.load(Ordering::Acquire);
        let (start, units) = (word >> LEN_BITS, word & ((1 << LEN_BITS) - 1));
        word != 0 && unit >= start && unit - start < units
    })
}

extern "C" fn on_bus(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let page = PAGE.load(Ordering::Acquire);
    // SAFETY: the kernel calls this with a valid `info`. The page replaced lies
    // within a mapping of ours, which lives: whoever touched it is in the middle of
    // `Reading::read` on it. Nobody holds a reference into it, so that its bytes
    // may change. `BEFORE` is null or a `sigaction` that is never freed; its handler
    // is called as its flags say it wants to be.
    unsafe {
        let address = (*info).si_addr() as usize;
        if page != 0 && is_ours(address as u64) {
            let errno = *libc::__errno_location();
            let at = (address & !(page - 1)) as *mut libc::c_void;
            let flags = libc::MAP_FIXED | libc::MAP_ANONYMOUS | libc::MAP_PRIVATE;
            let zeros = libc::mmap(at, page, libc::PROT_READ, flags, -1, 0);
            *libc::__errno_location() = errno;
            if zeros != libc::MAP_FAILED {
                return;
            }
        }
        let before = BEFORE.load(Ordering::Acquire);
        match before.as_ref() {
            Some(before)
                if before.sa_sigaction != libc::SIG_DFL && before.sa_sigaction != libc::SIG_IGN =>
            {
                if before.sa_flags & libc::SA_SIGINFO != 0 {
                    type Full = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
                    std::mem::transmute::<usize, Full>(before.sa_sigaction)(signal, info, context);
                } else {
                    type Short = extern "C" fn(i32);
                    std::mem::transmute::<usize, Short>(before.sa_sigaction)(signal);
                }
            }
            // The instruction is tried again and ends the process.
            _ => {
                libc::signal(libc::SIGBUS, libc::SIG_DFL);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    const KIB: usize = 1024;

    fn file(len: usize) -> fs::File {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..len).map(|i| (i / 64) as u8 | 1).collect();
        file.write_all_at(&bytes, 0).unwrap();
        file
    }

    fn read(map: &Reading, offset: u64, len: usize) -> Vec<u8> {
        let mut buf = vec![9; 3];
        assert!(map.read(offset, len, &mut buf));
        assert_eq!(buf[..3], [9; 3], "what the vector held stays");
        buf.split_off(3)
    }

    #[test]
    fn reads_what_the_file_holds_and_what_is_written_later() {
        // given: a mapping longer than its file
        let file = file(100 * KIB);
        let Some(map) = Reading::new(&file, 300 * KIB as u64) else { return };
        let mut want = vec![0; 5000];
        for offset in [0, 1, 4095, 50_000] {
            file.read_exact_at(&mut want, offset).unwrap();
            assert_eq!(read(&map, offset, want.len()), want);
        }
        // when: the file grows, then: it is seen
        file.write_all_at(&[7; 5000], 200 * KIB as u64).unwrap();
        assert_eq!(read(&map, 200 * KIB as u64, 5000), [7; 5000]);
        // over the end, far out, overflowing: refused, nothing appended
        let mut buf = Vec::new();
        for offset in [300 * KIB as u64 - 4, 300 * KIB as u64, u64::MAX - 2] {
            assert!(!map.read(offset, 5, &mut buf) && buf.is_empty());
        }
    }

    #[test]
    fn where_the_file_is_cut_are_zeros_and_no_signal_ends_us() {
        let file = file(256 * KIB);
        let Some(map) = Reading::new(&file, 256 * KIB as u64) else { return };
        // when: the file is cut under the mapping
        file.set_len(64 * KIB as u64).unwrap();
        // then: what is left reads on, the rest is zeros, from several threads too
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    assert_eq!(read(&map, 128 * KIB as u64, 128 * KIB), vec![0; 128 * KIB]);
                    assert_eq!(read(&map, 60 * KIB as u64, KIB)[0], (60 * KIB / 64) as u8 | 1);
                });
            }
        });
        // and a new mapping of the mended file reads it
        file.write_all_at(&[5; 10], 200 * KIB as u64).unwrap();
        let again = Reading::new(&file, 256 * KIB as u64).unwrap();
        assert_eq!(read(&again, 200 * KIB as u64, 10), [5; 10]);
    }

    #[test]
    fn places_are_given_back() {
        let file = file(4 * KIB);
        if Reading::new(&file, 4096).is_none() {
            return;
        }
        for _ in 0..3 * MOST {
            assert!(Reading::new(&file, 4096).is_some());
        }
        assert!(Reading::new(&file, 0).is_none());
        assert!(Reading::new(&file, 1 << 60).is_none());
    }
}
