//! Hints to the processor: bytes that will be read soon are brought near.
//!
//! Must stay true (an `unsafe` module): a hint has no effect that a program can see
//! but time; what is hinted at is lent for the call, so the addresses are ours.
#![allow(unsafe_code)]

/// Bytes of a cache line.
const LINE: usize = 64;

/// Has all of `bytes` brought near, a line at a time. Waits for nothing.
#[inline]
pub fn prefetch<T>(what: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..size_of_val(what)).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the address lies within what was lent, `at` being less than its
        // size; a prefetch reads nothing into the program and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(what.as_ptr().byte_add(at).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (what, LINE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_slice_will_do() {
        prefetch::<u8>(&[]);
        prefetch(&[1u8]);
        prefetch(&[(); 7]);
        prefetch(&vec![7u64; 1000][..]);
    }
}
