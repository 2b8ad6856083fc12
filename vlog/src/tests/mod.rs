//! Tests of the value log as a whole, on the simulated disk: a life, damage,
//! and power cuts at every call.

mod crash;
mod life;

use crate::{Error, Options, Tail, Vlog};
use platform::sim::SimDisk;
use std::sync::Arc;

/// Segments of 512 bytes, a buffer of 128.
const SMALL: Options = Options { segment_bytes: 512, buffer_bytes: 128 };

fn try_open(disk: &Arc<SimDisk>, tail: Tail) -> Result<Vlog, Error> {
    Vlog::open(disk.clone(), "vlog", SMALL, tail)
}

fn open(disk: &Arc<SimDisk>, tail: Tail) -> Vlog {
    try_open(disk, tail).unwrap()
}

fn segment_path(id: u32) -> String {
    crate::segment::path("vlog", id)
}
