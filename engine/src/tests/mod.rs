//! The engine as its callers see it: packets in, packets out, on a simulated disk.

mod backup;
mod dispatch;
mod documents;
mod index_model;
mod indexes;
mod kit;
mod limits;
mod login;
mod query;
mod recovery;
mod stores;
mod tending;
mod verify;
