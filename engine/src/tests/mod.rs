//! The engine as its callers see it: packets in, packets out, on a simulated disk.

mod altered;
mod backup;
mod cursors;
mod dispatch;
mod documents;
mod index_model;
mod indexes;
mod kit;
mod limits;
mod login;
mod mutations;
mod patience;
mod planner;
mod planner_model;
mod query;
mod recovery;
mod running;
mod sequences;
mod statistics;
mod stores;
mod tending;
mod users;
mod verify;
