//! What lies beside a file of `mongodump`: `NAME.metadata.json`.
//!
//! What must stay true: the documents load as they are; what this command does not
//! carry over, indexes, is told by name, never passed over in silence.

use crate::rows::{Format, Input};
use proto::doc::{Doc, Value};
use proto::json::{parse_json, to_json};
use std::fs;
use std::path::{Path, PathBuf};

/// A metadata file longer than this is none.
const MAX_BYTES: u64 = 16 << 20;

/// What to tell of the files that `mongodump` wrote beside these.
pub(super) fn notes(inputs: &[Input]) -> Vec<String> {
    let dumped = inputs.iter().filter(|input| input.format() == Format::Bson);
    dumped.filter_map(|input| note(input.path())).collect()
}

/// `dir/users.bson.gz`: `dir/users.metadata.json`.
fn beside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let stem = name.split_once(".bson")?.0;
    Some(path.with_file_name(format!("{stem}.metadata.json")))
}

fn note(path: &Path) -> Option<String> {
    let path = beside(path)?;
    if fs::metadata(&path).ok()?.len() > MAX_BYTES {
        return None;
    }
    let Some(indexes) = fs::read_to_string(&path).ok().and_then(|text| indexes(&text)) else {
        return Some(format!("{}: is no file of mongodump; passed over", path.display()));
    };
    if indexes.is_empty() {
        return None;
    }
    Some(format!(
        "{}: the collection had indexes, which were not made here: {}",
        path.display(),
        indexes.join(", ")
    ))
}

/// Each index but that of `_id`, as `name {fields}`.
fn indexes(text: &str) -> Option<Vec<String>> {
    let bytes = parse_json(text).ok()?;
    let doc = Doc::parse(&bytes).ok()?;
    let list = doc.get("indexes")?.as_array()?;
    let named = |index: Value<'_>| {
        let index = index.as_doc()?;
        let name = index.get("name")?.as_str()?;
        let unique = index.get("unique").and_then(|unique| unique.as_bool()) == Some(true);
        let unique = if unique { " unique" } else { "" };
        Some((name != "_id_").then(|| {
            let key = index.get("key").and_then(|key| key.as_doc());
            format!("{name}{unique} {}", key.map(to_json).unwrap_or_default())
        }))
    };
    let all: Option<Vec<Option<String>>> = list.iter().map(named).collect();
    Some(all?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_named() {
        let text = r#"{"options":{},"indexes":[
            {"v":{"$numberInt":"2"},"key":{"_id":{"$numberInt":"1"}},"name":"_id_"},
            {"v":2,"unique":true,"key":{"email":{"$numberInt":"1"},"at":-1},"name":"by_email"}
        ],"uuid":"5d9b","collectionName":"users","type":"collection"}"#;
        assert_eq!(indexes(text).unwrap(), [r#"by_email unique {"email":1,"at":-1}"#]);
        assert_eq!(indexes("{}"), None);
        assert_eq!(indexes("[]"), None);
        let path = beside(Path::new("dump/shop/users.bson.gz"));
        assert_eq!(path.unwrap(), Path::new("dump/shop/users.metadata.json"));
    }
}
