//! Peers that are slow, silent, half gone or many, at both listeners: they hold up
//! nobody but themselves, and what they cost is bounded.
//!
//! What is asserted is who is served and in which order, never how fast. Clients are
//! bare sockets, so that nothing of ours is kind to the server.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

#[path = "../common/mod.rs"]
mod common;
mod corpus;
mod web;
mod wire;

use common::*;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SHORT: Duration = Duration::from_millis(60);
/// Beyond the patience of the tests: what ends sooner was ended by what is tested.
const LONG: Duration = Duration::from_secs(3600);
