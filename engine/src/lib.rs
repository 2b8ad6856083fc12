//! Catalog, documents, PQL and the one dispatch path.

pub mod pql;
pub mod query;
