//! Moving data between formats, through the binary: what a format holds comes back.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use bson::{Bson, DateTime, Decimal128, Document, doc, oid::ObjectId};
use common::Service;
use std::io::{Read, Write};

/// A collection as mongodump writes it: documents after each other.
fn dump(service: &Service, documents: &[Document]) -> String {
    let bytes: Vec<u8> = documents.iter().flat_map(|document| document.to_vec().unwrap()).collect();
    std::fs::write(service.path("users.bson"), bytes).unwrap();
    let metadata = r#"{"options":{},"indexes":[{"v":{"$numberInt":"2"},"key":{"_id":{"$numberInt":"1"}},"name":"_id_"},{"v":{"$numberInt":"2"},"key":{"email":{"$numberInt":"1"}},"name":"email_1","unique":true}],"uuid":"0f0e","collectionName":"users","type":"collection"}"#;
    service.file("users.metadata.json", metadata);
    service.path("users.bson").to_str().unwrap().to_owned()
}

fn id(n: u8) -> ObjectId {
    ObjectId::from_bytes([n; 12])
}

fn users() -> Vec<Document> {
    vec![
        doc! {
            "_id": id(2), "email": "b@x", "small": 7_i64, "n": 7_i32, "x": 7.0,
            "at": DateTime::from_millis(1_357_016_400_123), "nothing": Bson::Null,
            "money": "12.50".parse::<Decimal128>().unwrap(),
            "tags": ["a", { "deep": [1, 2.5] }],
            "uuid": bson::Uuid::from_bytes([9; 16]),
        },
        doc! { "_id": id(1), "email": "a@x", "re": bson::Regex {
            pattern: "^a".try_into().unwrap(), options: "i".try_into().unwrap(),
        } },
    ]
}

#[test]
fn a_dump_of_mongodb_loads_as_it_is_and_its_ids_can_be_the_keys() {
    let service = Service::start();
    let file = dump(&service, &users());
    let ran = service.run(&["import", "u", &file, "--create"]);
    let note = "users.metadata.json: the collection had indexes not made here: email_1 unique \
                {\"email\":1} (--indexes makes it)";
    assert!(ran.err.contains(note) && ran.code == 0, "{ran:?}");
    let stored: Vec<Vec<u8>> =
        service.memory.lock().unwrap().stores["u"].values().cloned().collect();
    let written: Vec<Vec<u8>> = users().iter().map(|user| user.to_vec().unwrap()).collect();
    assert_eq!(stored, written, "byte for byte");

    service.run(&["import", "k", &file, "--create", "--id", "key"]).ok();
    let documents = service.documents("k");
    assert!(documents[0].starts_with("01010101010101010101010100000000 {\"_id\":{\"$oid\":\"0101"));
    assert!(documents[1].starts_with("02020202020202020202020200000000 "));
    // The same file twice is the same keys.
    service
        .run(&["import", "k", &file, "--id", "key"])
        .fails(5, "users.bson, document 1: PLK-1302");
    service.run(&["import", "h", &file, "--create", "--id", "hash", "--indexes"]).ok();
    assert_eq!(
        service.memory.lock().unwrap().indexes,
        [r#"{"name":"email_1","fields":["email"],"unique":true,"sparse":false}"#]
    );
    assert_eq!(service.documents("h").len(), 2);
    service.run(&["import", "k", &file, "--id", "key", "--key", "n:u8"]).fails(2, "both say");
    let odd = dump(&service, &[doc! { "_id": { "a": 1 } }]);
    service.run(&["import", "k", &odd, "--id", "key"]).fails(7, "--id hash takes all");
}

#[test]
fn bson_keeps_every_type_and_its_files_are_read_by_others() {
    let service = Service::start();
    let file = dump(&service, &users());
    service.run(&["import", "u", &file, "--create", "--id", "key"]).ok();
    let out = service.path("out.bson.gz");
    let out = out.to_str().unwrap();
    service.run(&["export", "u", out]).ok();
    service.run(&["import", "v", out, "--create"]).ok();
    let memory = service.memory.lock().unwrap();
    assert_eq!(memory.stores["u"], memory.stores["v"]);

    let mut text = Vec::new();
    let file = std::fs::File::open(out).unwrap();
    flate2::read::GzDecoder::new(file).read_to_end(&mut text).unwrap();
    let first = Document::from_reader(&text[..]).unwrap();
    assert_eq!(first.get_str("key").unwrap(), "01010101010101010101010100000000");
    assert_eq!(first.get_object_id("_id").unwrap(), id(1));
}

#[test]
fn json_keeps_all_but_the_width_of_numbers() {
    let service = Service::start();
    let file = dump(&service, &users());
    service.run(&["import", "u", &file, "--create", "--id", "key"]).ok();
    for name in ["out.json", "out.ndjson", "out.ndjson.gz", "out.json.gz"] {
        let path = service.path(name);
        let path = path.to_str().unwrap();
        service.run(&["export", "u", path]).ok();
        let store = name.replace('.', "_");
        service.run(&["import", &store, path, "--create"]).ok();
        assert_eq!(service.documents(&store), service.documents("u"), "{name}");
    }
    service.run(&["export", "u", "out.zst"]).fails(2, "export writes gzip");
}

const MANIFEST: &str = "\
other: refuse
null: [NA]
fields:
  - {name: id, column: Id, type: string, required: true}
  - {name: n, type: int64}
  - {name: price, type: decimal}
  - {name: at, column: When, type: date}
  - {name: more, type: json}
";

#[test]
fn csv_comes_back_as_a_manifest_declares() {
    let service = Service::start();
    let manifest = service.file("m.yaml", MANIFEST);
    let csv = "Id,n,price,When,more\n007,5,1.50,2013-01-01T05:00:00Z,\"[1,{\"\"a\"\":null}]\"\n\
               2,NA,,2013-01-02,NA\n";
    let file = service.file("in.csv", csv);
    service.run(&["import", "a", &file, "--create", "--manifest", &manifest]).ok();
    let stored = service.documents("a");
    assert!(
        stored[0].ends_with(
            "{\"id\":\"007\",\"n\":5,\"price\":{\"$numberDecimal\":\"1.50\"},\
             \"at\":{\"$date\":\"2013-01-01T05:00:00Z\"},\"more\":[1,{\"a\":null}]}"
        ),
        "{stored:?}"
    );
    let out = service.path("out.csv");
    let out = out.to_str().unwrap();
    // A file that has the key's column and the manifest's.
    service.run(&["export", "a", out, "--manifest", &manifest]).ok();
    let text = std::fs::read_to_string(out).unwrap();
    assert!(text.starts_with("key,Id,n,price,When,more\n"), "{text}");
    service.run(&["import", "b", out, "--create", "--manifest", &manifest]).ok();
    let memory = service.memory.lock().unwrap();
    assert_eq!(memory.stores["a"], memory.stores["b"], "types and all");
    drop(memory);

    for (row, says) in [
        ("1,x,,,", "in.csv, line 2: field `n`: \"x\" is no int64"),
        (",1,,,", "in.csv, line 2: it has no `Id`, which the manifest requires"),
        ("1,,,31.1.2013,", "line 2: field `When`: \"31.1.2013\" is no date written as"),
    ] {
        let file = service.file("in.csv", &format!("Id,n,price,When,more\n{row}\n"));
        service.run(&["import", "a", &file, "--manifest", &manifest]).fails(7, says);
    }
    let file = service.file("in.csv", "Id,n,price,When,more,extra\n");
    service.run(&["import", "a", &file, "--manifest", &manifest]).fails(7, "`extra`");
    let file = service.file("in.csv", "Id,n\n");
    service.run(&["import", "a", &file, "--manifest", &manifest]).fails(7, "names `price`");
}

#[test]
fn rows_without_a_header_and_with_other_separators_are_read() {
    let service = Service::start();
    let manifest = service.file(
        "m.yaml",
        "format: csv\nheader: false\nseparator: ';'\nkey: c:t2\nfields: [{name: c}, {name: n}]\n",
    );
    let file = service.file("rows.txt", "AA;1\nBB;2\n");
    service.run(&["import", "a", &file, "--create", "--manifest", &manifest]).ok();
    let rows = service.documents("a");
    assert_eq!(rows[0], "41410000000000000000000000000000 {\"c\":\"AA\",\"n\":1}");
    let tabs = service.file("rows.tsv", "c\tn\nAA\t1\n");
    service.run(&["import", "b", &tabs, "--create", "--key", "c:t2"]).ok();
    assert_eq!(service.documents("b"), rows[..1]);
}

#[test]
fn compressed_files_are_unpacked() {
    let service = Service::start();
    let csv = "a\n1\n2\n";
    let path = service.path("in.csv.gz");
    let mut gzip = flate2::write::GzEncoder::new(
        std::fs::File::create(&path).unwrap(),
        flate2::Compression::fast(),
    );
    gzip.write_all(csv.as_bytes()).unwrap();
    gzip.finish().unwrap();
    service.run(&["import", "a", path.to_str().unwrap(), "--create"]).ok();
    assert_eq!(service.documents("a").len(), 2);
    let zstd = ruzstd::encoding::compress_to_vec(
        csv.as_bytes(),
        ruzstd::encoding::CompressionLevel::Fastest,
    );
    let path = service.path("in.csv.zst");
    std::fs::write(&path, zstd).unwrap();
    service.run(&["import", "a", path.to_str().unwrap()]).ok();
    assert_eq!(service.documents("a").len(), 4);
    let bad = service.file("bad.csv.gz", "a,b\n1,2\n3,4\n5,6\n");
    service.run(&["import", "a", &bad]).fails(1, "bad.csv.gz: it is no gzip, or damaged");
    let short = service.file("short.csv.gz", "a");
    service.run(&["import", "a", &short]).fails(1, "short.csv.gz: it ends within gzip data");
}

#[cfg(not(feature = "parquet"))]
#[test]
fn without_parquet_it_says_how_to_get_it() {
    let service = Service::start();
    let file = service.file("a.parquet", "PAR1");
    service.run(&["import", "a", &file]).fails(2, "--features parquet");
    service.run(&["export", "a", "b.parquet"]).fails(2, "--features parquet");
}
