//! Limits of both listeners at their edges: the last that is taken, the first that is
//! refused, and the next honest request behind it. Which test is whose: docs/limits.md.
//!
//! Clients are bare sockets, so that nothing of ours knows the limits.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

#[path = "../common/mod.rs"]
mod common;
mod web;
mod wire;

use common::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SHORT: Duration = Duration::from_millis(60);
/// Beyond the patience of the tests: what ends sooner was ended by what is tested.
const LONG: Duration = Duration::from_secs(3600);
