//! Backups taken while everything goes on, restored and compared with a model.

#![allow(clippy::unwrap_used)]

mod archive;
mod crash;
mod damage;
mod kit;
mod life;
