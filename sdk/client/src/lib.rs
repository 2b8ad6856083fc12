//! The Rust client of Planck: typed, pooled, reconnecting, retrying only what is safe.
//!
#![doc = include_str!("example.md")]
//!
//! * [`Client`] is what programs use: a bounded pool of connections, made when they are
//!   needed and made anew when they are lost. [`Store`] reads and writes documents as Rust
//!   values, [`Query`] runs PQL, [`Client::request`] asks anything else;
//!   [`Client::transaction`] has many of them take effect together, [`Client::apply`] a few of
//!   which all is known, under conditions, in one request; [`Client::watch`] tells of what changes.
//! * [`Connection`] is one session, for who wants to decide what is sent when: requests
//!   are pipelined, replies come in their order. `planctl` is made with it.
//!
//! Both speak TCP. With the feature `quic`, [`Config`]`::transport` has a client speak QUIC,
//! where calls share connections, and a `Session` takes the place of a connection: it is
//! asked by many tasks at once, and nothing is in order.
//!
//! A server is known by the fingerprint it prints when it starts, not by its name; the
//! user's key is sent to nobody else. [`Security::Plaintext`] has to be asked for by name.
//!
//! Every future may be dropped at any moment. Of a call that was dropped half-way it is
//! not known whether it was carried out; its connection is closed, so no later call is
//! given its answer. [`Client::within`] has the server give a request up in time.
//!
//! # What is tried again
//!
//! A call that failed is made again, after pauses that grow ([`RetryOptions`]), if nothing
//! can come of it but what was asked for. *Repeatable* is a write that leaves the same
//! whether it is carried out once or twice, if nobody else writes there; the caller says
//! that this may be done with [`Client::repeating`]. What is not tried again is an error,
//! and [`Error::fate`] says whether the write may have been carried out.
//!
#![doc = include_str!("retry/table.md")]
//!
//! A query is known to read if every step and function in it is one that reads.
#![forbid(unsafe_code)]

mod answer;
mod ask;
mod backoff;
mod batch;
mod client;
mod connection;
mod error;
mod line;
mod options;
mod pool;
mod query;
#[cfg(feature = "quic")]
mod quic;
mod retry;
mod store;
mod tls;
mod transaction;
mod transport;
mod watch;

pub use answer::{Answer, Found, Row, Versioned};
pub use batch::{Applied, Batch};
pub use client::Client;
pub use connection::{Connection, Greeting, Pages};
pub use error::{Error, Fate, Result};
pub use options::{Config, ConnectOptions, PoolOptions, RetryOptions, Security, Transport};
pub use proto::doc::Doc;
pub use proto::request::Condition;
pub use proto::{Fingerprint, Key, NewJob as Job, Status};
pub use query::{Query, Rows};
#[cfg(feature = "quic")]
pub use quic::Session;
pub use store::{Scan, Store};
pub use tls::{Identity, fingerprint_of_pem};
pub use transaction::{Savepoint, Transaction};
pub use watch::{Change, Event, Told, Watch, Watched};

/// The protocol, for what this crate has no shorter way to say.
pub use proto;

#[cfg(test)]
mod tests {
    /// The README shows what is compiled here.
    #[test]
    fn the_example_of_the_readme_is_the_one_of_the_documentation() {
        let readme = include_str!("../../../README.md");
        let shown = include_str!("example.md");
        let code = shown.split("```").nth(1).unwrap().split_once('\n').unwrap().1;
        assert!(readme.contains(code), "put this into README.md, under From Rust:\n{code}");
    }
}
