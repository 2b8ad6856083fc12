//! Scripts of host calls, with pointers at the edges of the guest's memory.

use super::Seeds;
use crate::guests::{REQUEST_AT, STEP};

const REQUEST: u8 = 0;
const READ: u8 = 1;
const SERVICE: u8 = 2;
const LOG: u8 = 3;
const NOW: u8 = 4;
const RANDOM: u8 = 5;
const ANSWER: u8 = 6;
const GROW: u8 = 7;

/// A place that no script reaches.
const FAR: u32 = 20_000;
/// The end of a memory of one page.
const END: u32 = 65_536;

type Step<'a> = (u8, &'a [u32]);

/// The steps, and behind them a packet that is answered with 300 bytes.
fn script(steps: &[Step<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (what, arguments) in steps {
        out.extend([*what, 0, 0, 0]);
        for n in 0..6 {
            out.extend(arguments.get(n).copied().unwrap_or(0).to_le_bytes());
        }
    }
    out.extend(300u16.to_le_bytes());
    out.extend(b"a packet");
    out
}

/// Where the packet behind so many steps lies.
fn packet(steps: usize) -> u32 {
    u32::try_from(REQUEST_AT + STEP * steps).expect("a small script")
}

pub(super) fn make(seeds: &mut Seeds) {
    let mut add = |name: &str, steps: &[Step<'_>]| seeds.add("guest_calls", name, script(steps));
    add("nothing", &[]);
    let (one, four) = (packet(1), packet(4));
    add("answered", &[(REQUEST, &[one, 10, FAR, 300])]);
    let parts: [Step<'_>; 4] = [
        (REQUEST, &[four, 10, FAR, 299]),
        (READ, &[0, FAR, 100]),
        (READ, &[250, FAR, 100]),
        (READ, &[300, FAR, 100]),
    ];
    add("waits", &parts);
    add("none-waits", &[(READ, &[0, FAR, 100])]);
    add("service", &[(SERVICE, &[one, 4, one, 10, FAR, 300])]);
    add("service-waits", &[(SERVICE, &[one, 4, one, 10, FAR, 0])]);
    add("over-itself", &[(REQUEST, &[one, 10, packet(0), 300])]);
    add("lines", &[(LOG, &[1, one, 10]), (LOG, &[9, FAR, 0])]);
    add("long-lines", &[(LOG, &[0, 0, 9000]), (LOG, &[0, 0, 9000]), (LOG, &[0, 0, 1])]);
    add("now-and-random", &[(NOW, &[]), (RANDOM, &[FAR, 1000]), (RANDOM, &[END, 0])]);
    add("grow", &[(GROW, &[1]), (RANDOM, &[END, END]), (GROW, &[3]), (GROW, &[u32::MAX])]);
    add("grow-to-the-limit", &[(GROW, &[3]), (RANDOM, &[4 * END - 1, 1])]);
    let edges: &[(&str, Step<'_>)] = &[
        ("packet-over-the-end", (REQUEST, &[END - 9, 10, FAR, 0])),
        ("packet-at-the-end", (REQUEST, &[END - 10, 10, FAR, 0])),
        ("packet-wraps", (REQUEST, &[u32::MAX, 1, FAR, 0])),
        ("reply-over-the-end", (REQUEST, &[one, 10, END, 1])),
        ("reply-at-the-end", (REQUEST, &[one, 10, END, 0])),
        ("read-wraps", (READ, &[0, u32::MAX, u32::MAX])),
        ("name-over-the-end", (SERVICE, &[END, 1, one, 10, FAR, 0])),
        ("service-reply-over-the-end", (SERVICE, &[one, 1, one, 10, FAR, END])),
        ("line-over-the-end", (LOG, &[0, 0, END + 1])),
        ("random-over-the-end", (RANDOM, &[END, 1])),
        ("packet-of-the-limit", (REQUEST, &[0, 8192, FAR, 0])),
        ("packet-over-the-limit", (REQUEST, &[0, 8193, FAR, 0])),
        ("name-over-the-limit", (SERVICE, &[0, 8193, one, 10, FAR, 0])),
        ("answer", (ANSWER, &[FAR, 100])),
        ("answer-of-nothing", (ANSWER, &[END, 0])),
        ("answer-over-the-end", (ANSWER, &[END, 1])),
        ("answer-of-the-limit", (ANSWER, &[0, 4096])),
        ("answer-over-the-limit", (ANSWER, &[0, 4097])),
        ("aborted", (ANSWER, &[1 << 31, 7])),
    ];
    for (name, step) in edges {
        add(name, &[*step]);
    }
    add("random-over-the-limit", &[(GROW, &[1]), (RANDOM, &[0, END + 1])]);
    add("calls-to-the-limit", &[(NOW, &[][..]); 40]);
    add("calls-over-the-limit", &[(NOW, &[][..]); 41]);
}
