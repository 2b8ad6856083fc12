//! Parquet in and out, if planctl was built with it.
#![cfg(feature = "parquet")]
#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::Service;

/// Rows of every type a column has, some without a field.
fn ndjson(rows: u32) -> String {
    (0..rows)
        .map(|n| {
            let more = if n % 3 == 0 { "" } else { ",\"x\":1.5,\"t\":\"é\",\"b\":true" };
            format!(
                "{{\"key\":\"{:032x}\",\"n\":{n},\"big\":{},\
                 \"at\":{{\"$date\":\"2013-01-01T05:00:00.123Z\"}},\
                 \"raw\":{{\"$binary\":{{\"base64\":\"AAE=\",\"subType\":\"00\"}}}}{more}}}\n",
                u128::from(n) << 64 | 5,
                u64::from(n) + (1 << 40)
            )
        })
        .collect()
}

#[test]
fn rows_of_plain_types_come_back_the_same() {
    let service = Service::start();
    let file = service.file("in.ndjson", &ndjson(250));
    service.run(&["import", "a", &file, "--create"]).ok();
    let out = service.path("out.parquet");
    let out = out.to_str().unwrap();
    service.run(&["export", "a", out]).ok();
    service.run(&["import", "b", out, "--create"]).ok();
    assert_eq!(service.documents("b").len(), 250);
    assert_eq!(sorted(&service, "b"), sorted(&service, "a"));
    service.run(&["export", "a", out, "--resume"]).fails(2, "--resume does not go with Parquet");
}

/// Documents with their fields in the order of names: columns have one order.
fn sorted(service: &Service, store: &str) -> Vec<String> {
    let memory = service.memory.lock().unwrap();
    let docs = memory.stores[store].iter().map(|(key, doc)| {
        let doc = proto::doc::Doc::parse(doc).unwrap();
        let mut fields: Vec<String> = doc.iter().map(|field| format!("{field:?}")).collect();
        fields.sort();
        format!("{key} {fields:?}")
    });
    docs.collect()
}

#[test]
fn nested_and_mixed_values_are_json_and_come_back_by_a_manifest() {
    let service = Service::start();
    let rows = "{\"key\":\"000000000000000000000000000000aa\",\"m\":1,\"d\":{\"a\":[1,null]},\"p\":{\"$numberDecimal\":\"1.50\"},\"i\":{\"$oid\":\"0102030405060708090a0b0c\"}}\n\
                {\"key\":\"000000000000000000000000000000bb\",\"m\":\"x\",\"d\":null}\n";
    let manifest = service.file(
        "m.yaml",
        "fields:\n  - {name: m, type: json}\n  - {name: d, type: json}\n  \
         - {name: p, type: decimal}\n  - {name: i, type: objectId}\n",
    );
    let file = service.file("in.ndjson", rows);
    service.run(&["import", "a", &file, "--create"]).ok();
    let out = service.path("out.parquet");
    let out = out.to_str().unwrap();
    for export in [vec!["export", "a", out], vec!["export", "a", out, "--manifest", &manifest]] {
        service.run(&export).ok();
        let store = format!("s{}", export.len());
        service.run(&["import", &store, out, "--create", "--manifest", &manifest]).ok();
        // Null is no value in a column.
        let expected: Vec<String> =
            service.documents("a").iter().map(|row| row.replace(",\"d\":null", "")).collect();
        assert_eq!(service.documents(&store), expected);
    }
}

#[test]
fn a_value_its_column_cannot_hold_is_told() {
    let service = Service::start();
    let rows = ndjson(75) + "{\"key\":\"ff000000000000000000000000000000\",\"n\":\"text\"}\n";
    let file = service.file("in.ndjson", &rows);
    service.run(&["import", "a", &file, "--create"]).ok();
    let out = service.path("out.parquet");
    let out = out.to_str().unwrap();
    service.run(&["export", "a", out]).fails(7, "declare the field with --manifest");
    assert!(!service.path("out.parquet").exists());
    let broken = service.file("broken.parquet", "PAR1 and no more PAR1");
    service.run(&["import", "a", &broken]).fails(1, "broken.parquet");
}

#[test]
fn an_import_goes_on_behind_the_rows_that_were_stored() {
    let service = Service::start();
    let file = service.file("in.ndjson", &ndjson(300));
    service.run(&["import", "a", &file, "--create"]).ok();
    let out = service.path("out.parquet");
    let out = out.to_str().unwrap();
    service.run(&["export", "a", out]).ok();
    // Document 200 is in the way with other fields: the import stops there.
    let key = format!("{:032x}", 200u128 << 64 | 5);
    let file = service.file("one.ndjson", &format!("{{\"key\":\"{key}\",\"other\":1}}\n"));
    service.run(&["import", "b", &file, "--create"]).ok();
    let args = ["import", "b", out, "--resume", "--batch-size", "20"];
    service.run(&args).fails(5, "out.parquet, row 201: PLK-1302");
    service.memory.lock().unwrap().stores.get_mut("b").unwrap().remove(&key.parse().unwrap());
    let ran = service.run(&args);
    assert!(ran.err.contains("b: goes on behind "), "{}", ran.err);
    ran.ok();
    assert_eq!(sorted(&service, "b"), sorted(&service, "a"));
}
