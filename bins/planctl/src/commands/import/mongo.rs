//! What lies beside a file of `mongodump`: `NAME.metadata.json`, with its indexes.
//!
//! What must stay true: the documents load as they are; an index that is not made
//! here as it was there is told by name, never passed over in silence.

use crate::failure::Failure;
use crate::output;
use crate::rows::{Format, Input};
use crate::session::Session;
use proto::Request;
use proto::doc::{Doc, DocBuf, Value};
use proto::json::{parse_json, to_json};
use std::fs;
use std::path::{Path, PathBuf};

/// A metadata file longer than this is none.
const MAX_BYTES: u64 = 16 << 20;

/// The indexes of a collection.
#[derive(Debug)]
pub(super) struct Collection {
    path: PathBuf,
    indexes: Vec<Index>,
}

#[derive(Debug, PartialEq)]
struct Index {
    /// `name {fields}`.
    told: String,
    /// For [`Request::CreateIndex`], or why there is no such index here.
    definition: Result<Vec<u8>, String>,
}

/// What `mongodump` wrote beside these.
pub(super) fn beside(inputs: &[Input]) -> Vec<Collection> {
    let dumped = inputs.iter().filter(|input| input.format() == Format::Bson);
    dumped.filter_map(|input| Collection::open(metadata(input.path())?)).collect()
}

/// `dir/users.bson.gz`: `dir/users.metadata.json`.
fn metadata(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let stem = name.split_once(".bson")?.0;
    Some(path.with_file_name(format!("{stem}.metadata.json")))
}

impl Collection {
    fn open(path: PathBuf) -> Option<Collection> {
        if fs::metadata(&path).ok()?.len() > MAX_BYTES {
            return None;
        }
        let indexes = fs::read_to_string(&path).ok().and_then(|text| indexes(&text));
        if indexes.is_none() {
            output::note(&format!("{}: is no file of mongodump; passed over", path.display()));
        }
        Some(Collection { path, indexes: indexes? })
    }

    /// Makes the indexes, if `make` says so, and tells which were and were not.
    pub(super) fn indexes(
        &self,
        session: &mut Session,
        store: &str,
        make: bool,
    ) -> Result<(), Failure> {
        let path = self.path.display();
        let mut left = Vec::new();
        for index in &self.indexes {
            match &index.definition {
                Ok(definition) if make => {
                    let request = Request::CreateIndex { store, if_not_exists: true, definition };
                    session.ask(&request)?.reply().map_err(|failure| {
                        failure.map(|message| format!("{path}: index {}: {message}", index.told))
                    })?;
                    output::note(&format!("{path}: index {} is being built", index.told));
                }
                Ok(_) => left.push(format!("{} (--indexes makes it)", index.told)),
                Err(why) => left.push(format!("{} ({why})", index.told)),
            }
        }
        if !left.is_empty() {
            let left = left.join(", ");
            output::note(&format!("{path}: the collection had indexes not made here: {left}"));
        }
        Ok(())
    }
}

/// Each index but that of `_id`.
fn indexes(text: &str) -> Option<Vec<Index>> {
    let bytes = parse_json(text).ok()?;
    let doc = Doc::parse(&bytes).ok()?;
    let list = doc.get("indexes")?.as_array()?;
    let mut found = Vec::new();
    for index in list.iter() {
        let index = index.as_doc()?;
        let name = index.get("name")?.as_str()?;
        let key = index.get("key")?.as_doc()?;
        if name != "_id_" {
            let unique = if yes(index, "unique") { " unique" } else { "" };
            let told = format!("{name}{unique} {}", to_json(key));
            found.push(Index { told, definition: definition(name, key, index) });
        }
    }
    Some(found)
}

fn yes(index: Doc<'_>, name: &str) -> bool {
    index.get(name).and_then(|yes| yes.as_bool()) == Some(true)
}

/// The same index here: fields with directions, `unique` and `sparse`.
fn definition(name: &str, key: Doc<'_>, index: Doc<'_>) -> Result<Vec<u8>, String> {
    let known = ["v", "key", "name", "ns", "background", "unique", "sparse"];
    if let Some((other, _)) = index.iter().find(|(name, _)| !known.contains(name)) {
        return Err(format!("it has {other}"));
    }
    let mut fields = Vec::new();
    for (path, direction) in key {
        match direction.as_i64() {
            Some(1) => fields.push((path, false)),
            Some(-1) => fields.push((path, true)),
            _ => return Err(format!("{path} is indexed in a way of its own")),
        }
    }
    let mut doc = DocBuf::new();
    doc.push("name", ours(name).as_str());
    doc.array("fields", |items| {
        for &(path, descending) in &fields {
            match descending {
                // A `-` in front is the direction, if it is not said apart.
                _ if path.starts_with('-') => items.item_doc(|field| {
                    field.push("path", path).push("descending", descending);
                }),
                true => items.item(format!("-{path}").as_str()),
                false => items.item(path),
            };
        }
    });
    doc.push("unique", Value::Bool(yes(index, "unique")));
    doc.push("sparse", Value::Bool(yes(index, "sparse")));
    doc.finish().map_err(|e| e.to_string())
}

/// A name an index may have here: letters, digits and _, a letter first, 64 at most.
fn ours(name: &str) -> String {
    let plain = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    let lead = if name.starts_with(|c: char| c.is_ascii_alphabetic()) { "" } else { "i" };
    lead.chars().chain(plain).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_those_of_the_collection() {
        let text = r#"{"options":{},"indexes":[
            {"v":{"$numberInt":"2"},"key":{"_id":{"$numberInt":"1"}},"name":"_id_"},
            {"v":2,"unique":true,"key":{"email":{"$numberInt":"1"},"at":-1},"name":"by_email"},
            {"v":2,"key":{"at":1},"name":"ttl","expireAfterSeconds":60},
            {"v":2,"key":{"words":"text"},"name":"t"},
            {"v":2,"key":{"-a":1,"b":-1},"name":"dash"}
        ],"uuid":"5d9b","collectionName":"users","type":"collection"}"#;
        let found = indexes(text).unwrap();
        assert_eq!(found[0].told, r#"by_email unique {"email":1,"at":-1}"#);
        assert_eq!(
            to_json(Doc::parse(found[0].definition.as_ref().unwrap()).unwrap()),
            r#"{"name":"by_email","fields":["email","-at"],"unique":true,"sparse":false}"#
        );
        assert_eq!(ours("a.b_-1"), "a_b__1");
        assert_eq!(ours("_x"), "i_x");
        assert_eq!(ours(&"é".repeat(99)).len(), 64);
        assert_eq!(found[1].definition, Err("it has expireAfterSeconds".to_owned()));
        assert!(found[2].definition.as_ref().unwrap_err().contains("a way of its own"));
        assert_eq!(
            to_json(Doc::parse(found[3].definition.as_ref().unwrap()).unwrap()),
            concat!(
                r#"{"name":"dash","fields":[{"path":"-a","descending":false},"-b"],"#,
                r#""unique":false,"sparse":false}"#
            )
        );
        assert!(indexes("{}").is_none() && indexes("[]").is_none());
        let path = metadata(Path::new("dump/shop/users.bson.gz"));
        assert_eq!(path.unwrap(), Path::new("dump/shop/users.metadata.json"));
    }
}
