//! The edge: TLS, TCP wire, HTTP listener, upstream calls. Async lives here, in the client of the
//! wire (`planck_client`) and in bins only.
//!
//! What must stay true: this crate knows bytes, sockets and limits; it knows
//! neither the engine nor the runtimes. `bins` implement [`wire::WireHandler`]
//! and [`http::HttpHandler`] over them. Everything a stranger can send is bounded
//! in bytes, in number and in time before anybody looks at what it means.
//!
//! * [`tls`]: the certificate and its life, its fingerprint, TLS 1.3 and nothing else.
//! * [`wire`]: packets over TCP, for clients with a key.
//! * [`http`]: HTTP/1.1, 2 and 3, for the guests, and static files.
//! * [`upstream`]: calls of services outside, by the guests.
#![forbid(unsafe_code)]

mod address;
pub mod http;
mod lockout;
mod quic;
mod refusal;
mod server;
mod share;
mod stream;
pub mod tls;
mod traffic;
pub mod upstream;
pub mod wire;

pub use address::{AddressRange, BadAddressRange};
pub use lockout::LockoutOptions;
pub use server::{ListenError, Security, Server};
pub use traffic::{Lasting, Traffic};
