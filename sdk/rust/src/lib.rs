//! What a guest written in Rust needs: a handler, requests and responses, a
//! router, the service's own stores as function calls, other services, and responses that
//! leave while they are made.
//!
//! ```
//! use planck_sdk::{Request, Response, Result, Router};
//!
//! fn hello(request: &Request<'_>) -> Result<Response> {
//!     let name = request.query("name").unwrap_or("world".into());
//!     Ok(Response::text(format!("hello, {name}\n")))
//! }
//!
//! fn handler(request: &Request<'_>) -> Result<Response> {
//!     Router::new().get("/hello", hello).handle(request)
//! }
//!
//! planck_sdk::export!(handler);
//! ```
//!
//! Built for wasm32 this makes a module of ABI version 1 (`docs/abi.md`). Built
//! natively nothing is exported, and the host is a double that a test provides:
//! see [`testing`].
//!
//! Invariant: [`host`] holds the only `unsafe` of a guest built with this crate.

pub mod abi;
mod batch;
mod error;
mod events;
pub mod host;
mod html;
mod job;
mod query;
mod request;
mod response;
mod router;
mod service;
mod socket;
mod store;
mod stream;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod watch;

pub use batch::{Applied, Batch};
pub use error::{Error, Result};
pub use events::Events;
pub use html::{Escaped, Html, escape};
pub use job::{after_commit, schedule};
pub use proto::doc::Doc;
pub use proto::request::Condition;
pub use proto::{Key, KeyParts, NewJob as Job, Status};
pub use query::{Found, Query};
pub use request::{Params, Request};
pub use response::Response;
pub use router::Router;
pub use service::{Answer, ServiceRequest, call_service};
pub use socket::{Socket, SocketEvent};
pub use store::{Page, Row, Store, Versioned};
pub use stream::Stream;
pub use watch::Watch;

/// The protocol, for what this crate has no shorter way to say.
pub use proto;

/// Makes a handler the guest's own: `fn(&Request<'_>) -> Result<Response>`.
#[macro_export]
macro_rules! export {
    ($handler:expr) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            // SAFETY: three names of the ABI, exported once in a guest: a second one of a
            // name would not link.
            #[unsafe(no_mangle)]
            extern "C" fn planck_abi() -> i32 {
                $crate::abi::VERSION
            }
            // SAFETY: as above.
            #[unsafe(no_mangle)]
            extern "C" fn alloc(len: i32) -> i32 {
                $crate::abi::alloc(len)
            }
            // SAFETY: as above.
            #[unsafe(no_mangle)]
            extern "C" fn process(ptr: i32, len: i32) -> i64 {
                $crate::abi::process(ptr, len, $handler)
            }
        };
    };
}

/// The guest in the README is compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// So is the one of the guide to jobs.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/jobs.md")]
struct Jobs;
