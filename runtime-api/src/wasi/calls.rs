//! WASI preview 1, carried out: what each function answers.
//!
//! What must stay true:
//! * A call counts as a host call, and its ranges are checked before anything is done: a
//!   bad one traps, as one given to an import of `planck` does.
//! * Text is logged line by line, within the call's allowance of log bytes; a line that has
//!   no end yet is logged when the call ends, so nothing of it is left to the next.
//! * Nothing waits. A guest that sleeps goes on at once, with its monotonic clock moved on
//!   by what it slept: it neither holds its thread nor spins until the time has passed.
//! * What one call may ask for is bounded, and what it costs too: the work is the host's,
//!   and no meter sees it.

use super::{Does, Wasi};
use crate::memory::region;
use crate::{GuestMemory, HostState, LogLevel, Trap, TrapKind, abi};

const SUCCESS: i32 = 0;
/// No such descriptor: what each refused function answers.
pub(super) const BADF: i32 = 8;
const INVAL: i32 = 28;

/// Buffers of one `fd_write`.
const MAX_BUFFERS: u32 = 1_024;
/// Bytes that one `fd_write` takes; the guest is told how many, and writes the rest again.
const MAX_WRITE_BYTES: u32 = 64 << 10;
/// Subscriptions of one `poll_oneoff`.
const MAX_SUBSCRIPTIONS: u32 = 64;
/// The host's clock counts microseconds.
const RESOLUTION_NANOS: u64 = 1_000;

const REALTIME: i32 = 0;
const MONOTONIC: i32 = 1;

/// What WASI keeps of an instance.
#[derive(Default)]
pub(crate) struct WasiState {
    /// The lines begun on stdout and stderr, at most [`abi::MAX_LOG_LINE_BYTES`] of each.
    lines: [Vec<u8>; 2],
    /// A bit for each function that was refused, and said so, in this call.
    refused: u64,
    /// Nanoseconds slept, which the monotonic clock is ahead by.
    slept: u64,
    /// The last reading of the monotonic clock.
    last: u64,
}

impl Wasi {
    /// Its bit in a set of functions.
    pub(super) fn bit(self) -> u64 {
        1 << self.0
    }
}

/// Where a stream's lines go: its place in [`WasiState::lines`], and their level.
fn stream(fd: i32) -> Option<(usize, LogLevel)> {
    match fd {
        1 => Some((0, LogLevel::Info)),
        2 => Some((1, LogLevel::Warn)),
        _ => None,
    }
}

/// Little-endian numbers out of a record that the guest wrote; the offsets are constants
/// inside it.
fn u32_at(record: &[u8], at: usize) -> u32 {
    let bytes = record.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    u32::from_le_bytes(bytes.unwrap_or_default())
}

fn u64_at(record: &[u8], at: usize) -> u64 {
    let bytes = record.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    u64::from_le_bytes(bytes.unwrap_or_default())
}

impl HostState {
    /// A call of a function of WASI; its parameters as the guest gave them, an `i32`
    /// widened. What it answers is an errno.
    ///
    /// # Errors
    /// A bad range, `proc_exit`, too many calls, the deadline.
    pub fn wasi<M: GuestMemory + ?Sized>(
        &mut self,
        memory: &mut M,
        wasi: Wasi,
        params: &[i64],
    ) -> Result<i32, Trap> {
        self.enter()?;
        // An i32 parameter was widened: its low half is all of it.
        let int = |n: usize| params.get(n).copied().unwrap_or_default() as i32;
        let name = wasi.name();
        match wasi.row().does {
            Does::NoStrings | Does::Yield => Ok(SUCCESS),
            Does::NoSizes => {
                let number = region(memory, name, "the number", int(0), 4)?;
                let bytes = region(memory, name, "the size", int(1), 4)?;
                number.write(memory, &[0; 4])?;
                bytes.write(memory, &[0; 4])?;
                Ok(SUCCESS)
            }
            Does::ClockResolution => {
                let out = region(memory, name, "the result", int(1), 8)?;
                if !matches!(int(0), REALTIME | MONOTONIC) {
                    return Ok(INVAL);
                }
                out.write(memory, &RESOLUTION_NANOS.to_le_bytes())?;
                Ok(SUCCESS)
            }
            Does::Clock => {
                let out = region(memory, name, "the result", int(2), 8)?;
                let Some(now) = self.wasi_clock(int(0)) else { return Ok(INVAL) };
                out.write(memory, &now.to_le_bytes())?;
                Ok(SUCCESS)
            }
            Does::Random => {
                self.fill_random(memory, name, (int(0), int(1)))?;
                Ok(SUCCESS)
            }
            Does::Write => self.wasi_write(memory, wasi, int(0), (int(1), int(2)), int(3)),
            Does::Describe => {
                let out = region(memory, name, "the result", int(1), 24)?;
                if stream(int(0)).is_none() {
                    return Ok(BADF);
                }
                // A character device, so that libc writes line by line; opened to append,
                // with the one right to write.
                let mut described = [0; 24];
                described[0] = 2;
                described[2] = 1;
                described[8] = 1 << 6;
                out.write(memory, &described)?;
                Ok(SUCCESS)
            }
            Does::NoDirectory => Ok(BADF),
            Does::Poll => self.wasi_poll(memory, name, [int(0), int(1), int(2), int(3)]),
            Does::Exit => Err(Trap::new(
                TrapKind::Unreachable,
                format!(
                    "the guest ended itself with proc_exit({}), which a service does only if it cannot go on; its log lines before this say why",
                    int(0)
                ),
            )),
            Does::Refuse => Ok(self.refuse(wasi)),
        }
    }

    /// Says once in a call that the guest asked for what is not here.
    fn refuse(&mut self, wasi: Wasi) -> i32 {
        if self.wasi.refused & wasi.bit() == 0 {
            self.wasi.refused |= wasi.bit();
            let line = format!(
                "the WASI function {} was refused: a guest has no files, sockets or processes, and writes to stdout and stderr alone",
                wasi.name()
            );
            self.write_line(LogLevel::Warn, line.as_bytes());
        }
        BADF
    }

    /// A clock in nanoseconds. The monotonic one is the host's wall time, held where that
    /// steps back, and ahead by what the guest slept.
    fn wasi_clock(&mut self, clock: i32) -> Option<u64> {
        let now = self.wall_micros().saturating_mul(1_000);
        match clock {
            REALTIME => Some(now),
            MONOTONIC => {
                let wasi = &mut self.wasi;
                wasi.last = wasi.last.max(now.saturating_add(wasi.slept));
                Some(wasi.last)
            }
            _ => None,
        }
    }

    fn wasi_write<M: GuestMemory + ?Sized>(
        &mut self,
        memory: &mut M,
        wasi: Wasi,
        fd: i32,
        (list, count): (i32, i32),
        out: i32,
    ) -> Result<i32, Trap> {
        let name = wasi.name();
        let Some(stream) = stream(fd) else { return Ok(self.refuse(wasi)) };
        let count = count.cast_unsigned();
        if count > MAX_BUFFERS {
            return Ok(INVAL);
        }
        let bytes = (count * 8).cast_signed();
        let list = region(memory, name, "the list of buffers", list, bytes)?;
        let out = region(memory, name, "the result", out, 4)?;
        let mut buffers = Vec::new();
        list.read_into(memory, &mut buffers)?;
        let mut parts = Vec::with_capacity(count as usize);
        for buffer in buffers.chunks_exact(8) {
            let (ptr, len) = (u32_at(buffer, 0).cast_signed(), u32_at(buffer, 4).cast_signed());
            parts.push((ptr, region(memory, name, "a buffer", ptr, len)?.len()));
        }
        let mut text = std::mem::take(&mut self.packet);
        let mut taken = 0;
        for (ptr, len) in parts {
            let len = len.min(MAX_WRITE_BYTES - taken);
            if len > 0 {
                region(memory, name, "a buffer", ptr, len.cast_signed())?
                    .read_into(memory, &mut text)?;
                self.wasi_text(stream, &text);
                taken += len;
            }
        }
        self.packet = text;
        out.write(memory, &taken.to_le_bytes())?;
        Ok(SUCCESS)
    }

    /// Adds text to a stream, and logs the lines that end in it.
    fn wasi_text(&mut self, (at, level): (usize, LogLevel), text: &[u8]) {
        let mut line = std::mem::take(&mut self.wasi.lines[at]);
        for part in text.split_inclusive(|byte| *byte == b'\n') {
            let (words, ends) = match part.split_last() {
                Some((b'\n', words)) => (words, true),
                _ => (part, false),
            };
            // The rest of a line this long is dropped, as that of `host_log` is.
            let room = (abi::MAX_LOG_LINE_BYTES as usize).saturating_sub(line.len());
            line.extend_from_slice(&words[..words.len().min(room)]);
            if ends {
                self.write_line(level, &line);
                line.clear();
            }
        }
        self.wasi.lines[at] = line;
    }

    /// At the end of a call: lines without an end are logged, and functions may be
    /// refused anew.
    pub(crate) fn end_wasi(&mut self) {
        self.wasi.refused = 0;
        for (at, level) in [1, 2].into_iter().filter_map(stream) {
            if !self.wasi.lines[at].is_empty() {
                let line = std::mem::take(&mut self.wasi.lines[at]);
                self.write_line(level, &line);
            }
        }
    }

    fn wasi_poll<M: GuestMemory + ?Sized>(
        &mut self,
        memory: &mut M,
        name: &str,
        [list, events, count, out]: [i32; 4],
    ) -> Result<i32, Trap> {
        // As in WASI: 48 bytes of a subscription, 32 of an event.
        let count = count.cast_unsigned();
        if !(1..=MAX_SUBSCRIPTIONS).contains(&count) {
            return Ok(INVAL);
        }
        let bytes = |each: u32| (count * each).cast_signed();
        let list = region(memory, name, "the subscriptions", list, bytes(48))?;
        let events = region(memory, name, "the events", events, bytes(32))?;
        let out = region(memory, name, "the result", out, 4)?;
        let mut asked = Vec::new();
        list.read_into(memory, &mut asked)?;
        let waits: Vec<_> = asked.chunks_exact(48).map(|one| (one, self.wait_of(one))).collect();
        // What cannot be waited for is an event of its own, at once.
        let shortest = waits.iter().map(|(_, wait)| wait.unwrap_or(0)).min().unwrap_or(0);
        self.wasi.slept = self.wasi.slept.saturating_add(shortest);
        let mut happened = Vec::new();
        let mut number = 0_u32;
        for (one, wait) in &waits {
            if wait.is_ok_and(|nanos| nanos > shortest) {
                continue;
            }
            let mut event = [0; 32];
            event[..8].copy_from_slice(&one[..8]);
            event[8] = wait.err().unwrap_or(0);
            event[10] = one[8];
            happened.extend_from_slice(&event);
            number += 1;
        }
        events.write(memory, &happened)?;
        out.write(memory, &number.to_le_bytes())?;
        Ok(SUCCESS)
    }

    /// How many nanoseconds a subscription would wait, or the errno of its event.
    fn wait_of(&mut self, subscription: &[u8]) -> Result<u64, u8> {
        const CLOCK: u8 = 0;
        const FD_WRITE: u8 = 2;
        let id = u32_at(subscription, 16).cast_signed();
        match subscription[8] {
            CLOCK => {
                let now = self.wasi_clock(id).ok_or(INVAL as u8)?;
                let timeout = u64_at(subscription, 24);
                let absolute = subscription[40] & 1 == 1;
                Ok(if absolute { timeout.saturating_sub(now) } else { timeout })
            }
            FD_WRITE if stream(id).is_some() => Ok(0),
            _ => Err(BADF as u8),
        }
    }
}
