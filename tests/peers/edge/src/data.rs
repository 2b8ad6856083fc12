//! The tables, and what each server must answer.

use serde_json::{Map, Value};
use std::collections::HashMap;
use std::path::Path;

/// A table: the file, the columns that are its key, the columns that stay text, and those
/// that the guest has no field for.
pub struct Table {
    pub name: &'static str,
    text: &'static [&'static str],
    without: &'static [&'static str],
    key: fn(&Map<String, Value>) -> String,
}

fn plain(field: &'static str, row: &Map<String, Value>) -> String {
    row[field].as_str().unwrap_or_default().to_owned()
}

/// `2013-06-13-1515-DL-2181-LGA`.
fn flight(row: &Map<String, Value>) -> String {
    let n = |field: &str| row[field].as_u64().unwrap_or(0);
    let t = |field: &str| row[field].as_str().unwrap_or_default();
    format!(
        "{:04}-{:02}-{:02}-{:04}-{}-{}-{}",
        n("year"),
        n("month"),
        n("day"),
        n("sched_dep_time"),
        t("carrier"),
        n("flight"),
        t("origin")
    )
}

pub const TABLES: &[Table] = &[
    Table {
        name: "airlines",
        text: &["carrier", "name"],
        without: &[],
        key: |row| plain("carrier", row),
    },
    Table {
        name: "airports",
        text: &["faa", "name", "dst", "tzone"],
        without: &["tz", "dst"],
        key: |row| plain("faa", row),
    },
    Table {
        name: "planes",
        text: &["tailnum", "type", "manufacturer", "model", "engine"],
        without: &["speed"],
        key: |row| plain("tailnum", row),
    },
    Table {
        name: "weather",
        text: &["origin", "time_hour"],
        without: &["year", "month", "day", "hour"],
        key: |row| format!("{} {}", plain("origin", row), plain("time_hour", row)),
    },
    Table {
        name: "flights",
        text: &["carrier", "tailnum", "origin", "dest", "time_hour"],
        without: &["hour", "minute"],
        key: flight,
    },
];

/// Key and document of each row of each table, in the order of [`TABLES`].
pub struct Data(pub Vec<Vec<(String, Map<String, Value>)>>);

fn cell(text: &str, stays: bool) -> Value {
    match text {
        "NA" => Value::Null,
        _ if stays => text.into(),
        _ => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
    }
}

impl Data {
    pub fn read(dir: &Path) -> Result<Data, String> {
        TABLES.iter().map(|table| one(dir, table)).collect::<Result<_, _>>().map(Data)
    }

    /// The documents of a table by key.
    fn by_key(&self, name: &str) -> HashMap<&str, &Map<String, Value>> {
        let at = TABLES.iter().position(|table| table.name == name).unwrap_or(0);
        self.0[at].iter().map(|(key, row)| (key.as_str(), row)).collect()
    }

    /// Flights of these keys, and all that belongs to each.
    pub fn joined(&self, keys: &[String]) -> Vec<Map<String, Value>> {
        let names = ["airlines", "airports", "planes", "weather", "flights"];
        let [airlines, airports, planes, weather, flights] = names.map(|name| self.by_key(name));
        let found = |map: &HashMap<&str, &Map<String, Value>>, key: &str| {
            map.get(key).map_or(Value::Null, |row| Value::Object((*row).clone()))
        };
        keys.iter()
            .map(|key| {
                let flight = flights[key.as_str()];
                let text = |field: &str| flight[field].as_str().unwrap_or_default();
                let hour = format!("{} {}", text("origin"), text("time_hour"));
                Map::from_iter([
                    ("flight".to_owned(), Value::Object(flight.clone())),
                    ("airline".to_owned(), found(&airlines, text("carrier"))),
                    ("plane".to_owned(), found(&planes, text("tailnum"))),
                    ("origin".to_owned(), found(&airports, text("origin"))),
                    ("dest".to_owned(), found(&airports, text("dest"))),
                    ("weather".to_owned(), found(&weather, &hour)),
                ])
            })
            .collect()
    }

    /// Keys of flights, chosen at random.
    pub fn keys(&self, count: u64) -> Vec<String> {
        let flights = self.0.last().map_or(&[][..], Vec::as_slice);
        let pick = |n| flights[(shared::mix(n) % flights.len() as u64) as usize].0.clone();
        (0..count).map(pick).collect()
    }
}

fn one(dir: &Path, table: &Table) -> Result<Vec<(String, Map<String, Value>)>, String> {
    let path = dir.join(format!("{}.csv", table.name));
    let failed = |e: csv::Error| format!("{}: {e}", path.display());
    let mut reader = csv::Reader::from_path(&path).map_err(failed)?;
    let columns = reader.headers().map_err(failed)?.clone();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(failed)?;
        let cells = columns.iter().zip(record.iter());
        let mut row: Map<String, Value> = cells
            .map(|(name, text)| (name.to_owned(), cell(text, table.text.contains(&name))))
            .collect();
        let key = (table.key)(&row);
        row.retain(|name, _| !table.without.contains(&name.as_str()));
        rows.push((key, row));
    }
    Ok(rows)
}
