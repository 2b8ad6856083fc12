//! The packet protocol and documents: bytes in, packets out, no I/O.
//!
//! Everything that crosses a boundary of Planck is laid out here and nowhere
//! else: wire packets ([`packet`], [`request`], [`reply`]), what a guest is
//! given and gives back for an HTTP request ([`http`]), what an upstream answers it ([`service`]), jobs ([`job`]), keys and statuses,
//! what a server is known by ([`fingerprint`]), documents ([`doc`]) with their order ([`order`]), their text ([`json`]) and
//! their Rust types ([`bridge`]).
//! The crate builds for wasm32, so the server, its clients and the guests read
//! the same lines. All integers are little-endian, but keys, whose bytes sort.
#![forbid(unsafe_code)]

pub mod bridge;
pub mod codec;
pub mod doc;
pub mod fingerprint;
pub mod http;
pub mod job;
pub mod json;
pub mod key;
pub mod keyparts;
pub mod order;
pub mod packet;
pub mod reply;
pub mod request;
pub mod service;
pub mod status;
pub mod wire;

pub use fingerprint::{BadFingerprint, Fingerprint};
pub use job::NewJob;
pub use key::Key;
pub use keyparts::{KeyPartError, KeyParts};
pub use packet::{Header, Kind, Opcode};
pub use reply::{Reply, ReplyWriter, Rows, RowsWriter};
pub use request::Request;
pub use status::{Class, Status};
