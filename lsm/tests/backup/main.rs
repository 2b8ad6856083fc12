//! Backups taken while everything goes on, restored and compared with a model.

#![allow(clippy::unwrap_used)]

mod archive;
mod clock;
mod crash;
mod damage;
#[path = "../gate/mod.rs"]
mod gate;
mod kit;
mod life;
mod pins;
