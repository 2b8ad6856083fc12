//! WASI preview 1 for guests whose toolchain cannot do without: names and signatures.
//!
//! What must stay true:
//! * Every function of preview 1 stands in [`TABLE`], once. A module that imports one of
//!   them links; whatever else it imports is refused by [`crate::inspect`].
//! * What a function does is one of [`Does`]. Clock, randomness and the two streams of
//!   text are served from the guest's own [`crate::Host`], so a guest computes the same
//!   on every backend; the rest is refused when it is called, with its name in the log.
//!
//! The calls are in [`calls`], over [`crate::GuestMemory`]: a backend passes the numbers
//! it is given on to [`crate::HostState::wasi`] and knows nothing else of WASI.

mod calls;

pub(crate) use calls::WasiState;

use crate::abi::Ty::{self, I32, I64};

/// The module its functions are imported from.
pub const MODULE: &str = "wasi_snapshot_preview1";
/// The most parameters a function has.
pub const MAX_PARAMS: usize = 9;

/// What a function does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// There are no arguments and no environment: nothing to copy.
    NoStrings,
    /// The same: two zeros.
    NoSizes,
    ClockResolution,
    Clock,
    Random,
    /// Text to the log.
    Write,
    /// What stdout and stderr are.
    Describe,
    /// Asked at every start by libc, until it is told that there is no directory.
    NoDirectory,
    /// Waits for clocks, without waiting.
    Poll,
    Exit,
    Yield,
    /// Answers [`calls::BADF`] and says so in the log.
    Refuse,
}

struct Row {
    name: &'static str,
    params: &'static [Ty],
    does: Does,
}

const fn row(name: &'static str, params: &'static [Ty], does: Does) -> Row {
    Row { name, params, does }
}

/// All of preview 1. Each answers an `i32` errno but `proc_exit`, which does not return.
#[rustfmt::skip]
static TABLE: [Row; 46] = [
    row("args_get", &[I32, I32], Does::NoStrings),
    row("args_sizes_get", &[I32, I32], Does::NoSizes),
    row("environ_get", &[I32, I32], Does::NoStrings),
    row("environ_sizes_get", &[I32, I32], Does::NoSizes),
    row("clock_res_get", &[I32, I32], Does::ClockResolution),
    row("clock_time_get", &[I32, I64, I32], Does::Clock),
    row("random_get", &[I32, I32], Does::Random),
    row("fd_write", &[I32, I32, I32, I32], Does::Write),
    row("fd_fdstat_get", &[I32, I32], Does::Describe),
    row("fd_prestat_get", &[I32, I32], Does::NoDirectory),
    row("poll_oneoff", &[I32, I32, I32, I32], Does::Poll),
    row("proc_exit", &[I32], Does::Exit),
    row("sched_yield", &[], Does::Yield),
    row("fd_advise", &[I32, I64, I64, I32], Does::Refuse),
    row("fd_allocate", &[I32, I64, I64], Does::Refuse),
    row("fd_close", &[I32], Does::Refuse),
    row("fd_datasync", &[I32], Does::Refuse),
    row("fd_fdstat_set_flags", &[I32, I32], Does::Refuse),
    row("fd_fdstat_set_rights", &[I32, I64, I64], Does::Refuse),
    row("fd_filestat_get", &[I32, I32], Does::Refuse),
    row("fd_filestat_set_size", &[I32, I64], Does::Refuse),
    row("fd_filestat_set_times", &[I32, I64, I64, I32], Does::Refuse),
    row("fd_pread", &[I32, I32, I32, I64, I32], Does::Refuse),
    row("fd_prestat_dir_name", &[I32, I32, I32], Does::Refuse),
    row("fd_pwrite", &[I32, I32, I32, I64, I32], Does::Refuse),
    row("fd_read", &[I32, I32, I32, I32], Does::Refuse),
    row("fd_readdir", &[I32, I32, I32, I64, I32], Does::Refuse),
    row("fd_renumber", &[I32, I32], Does::Refuse),
    row("fd_seek", &[I32, I64, I32, I32], Does::Refuse),
    row("fd_sync", &[I32], Does::Refuse),
    row("fd_tell", &[I32, I32], Does::Refuse),
    row("path_create_directory", &[I32, I32, I32], Does::Refuse),
    row("path_filestat_get", &[I32, I32, I32, I32, I32], Does::Refuse),
    row("path_filestat_set_times", &[I32, I32, I32, I32, I64, I64, I32], Does::Refuse),
    row("path_link", &[I32, I32, I32, I32, I32, I32, I32], Does::Refuse),
    row("path_open", &[I32, I32, I32, I32, I32, I64, I64, I32, I32], Does::Refuse),
    row("path_readlink", &[I32, I32, I32, I32, I32, I32], Does::Refuse),
    row("path_remove_directory", &[I32, I32, I32], Does::Refuse),
    row("path_rename", &[I32, I32, I32, I32, I32, I32], Does::Refuse),
    row("path_symlink", &[I32, I32, I32, I32, I32], Does::Refuse),
    row("path_unlink_file", &[I32, I32, I32], Does::Refuse),
    row("proc_raise", &[I32], Does::Refuse),
    row("sock_accept", &[I32, I32, I32], Does::Refuse),
    row("sock_recv", &[I32, I32, I32, I32, I32, I32], Does::Refuse),
    row("sock_send", &[I32, I32, I32, I32, I32], Does::Refuse),
    row("sock_shutdown", &[I32, I32], Does::Refuse),
];

/// A function of preview 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wasi(u8);

impl Wasi {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Wasi> {
        (0_u8..).zip(&TABLE).map(|(at, _)| Wasi(at))
    }

    /// The function of that name.
    pub fn by_name(name: &str) -> Option<Wasi> {
        Wasi::all().find(|wasi| wasi.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What the guest must declare it as.
    pub fn signature(self) -> crate::abi::Signature {
        let result = (self.row().does != Does::Exit).then_some(I32);
        crate::abi::Signature { params: self.row().params, result }
    }

    fn row(self) -> &'static Row {
        &TABLE[usize::from(self.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_found_by_its_name_and_has_a_bit_of_its_own() {
        let mut bits = 0_u64;
        for wasi in Wasi::all() {
            assert_eq!(Wasi::by_name(wasi.name()), Some(wasi), "{}", wasi.name());
            assert!(wasi.signature().params.len() <= MAX_PARAMS, "{}", wasi.name());
            assert_eq!(bits & wasi.bit(), 0, "{}", wasi.name());
            bits |= wasi.bit();
        }
        assert_eq!(bits.count_ones(), 46);
        assert_eq!(Wasi::by_name("fd_writ"), None);
    }
}
