//! The guest's module, changed on request: who is asked, what is told, what is audited.

use std::sync::Arc;

use parking_lot::Mutex;
use platform::sim::SimDisk;
use proto::{Request, Status};
use serde_json::Value;

use super::kit::*;
use crate::{AuditOptions, Modules, Options, Principal, Refusal, Reloaded, Role};

/// A guest that finds these modules, one after the other, and then a bad one.
struct Found(Mutex<Vec<&'static str>>);

impl Modules for Found {
    fn reload(&self) -> Result<Reloaded, Refusal> {
        let mut found = self.0.lock();
        if found.len() < 2 {
            return Err(Refusal::new(Status::BadModule, "it is no module: put one there"));
        }
        let (before, module) = (found.remove(0).to_owned(), found[0].to_owned());
        Ok(Reloaded { module, before, took_micros: 5 })
    }
}

#[test]
fn a_reload_is_told_and_audited_whether_it_changes_anything_or_fails() {
    let disk = SimDisk::new(1);
    let options = Options { audit: Some(AuditOptions::default()), ..options() };
    let engine = open_on(disk.clone(), options);
    refused(&engine, Request::ReloadModule, Status::NotSetUp, &["wasm.enabled"]);
    engine.reloads(Arc::new(Found(Mutex::new(vec!["aa", "bb", "bb"]))));
    // A second one is not asked.
    engine.reloads(Arc::new(Found(Mutex::default())));
    for (module, before, changed) in [("bb", "aa", true), ("bb", "bb", false)] {
        let told = format!(
            "{{\"module\":\"{module}\",\"before\":\"{before}\",\"changed\":{changed},\"took_us\":5}}"
        );
        assert_eq!(done(&engine, Request::ReloadModule), Said::Document(told));
    }
    refused(&engine, Request::ReloadModule, Status::BadModule, &["no module"]);
    let writer = Principal::new("w", Role::ReadWrite);
    refused_as(&engine, &writer, Request::ReloadModule, Status::Forbidden, &["maintain"]);
    let text = String::from_utf8(disk.file_bytes("audit/0000000000000001.jsonl").unwrap()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |line: &Value| {
        let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
        format!("{} {} {}", text("outcome"), text("module"), line["changed"])
    };
    let reloads = lines.iter().filter(|line| line["what"] == "ReloadModule");
    assert_eq!(
        reloads.map(of).collect::<Vec<_>>(),
        [
            "PLK-1217 - null",
            "begun - null",
            "done bb true",
            "begun - null",
            "done bb false",
            "begun - null",
            "PLK-1218 - null",
            "PLK-1503 - null",
        ]
    );
}
