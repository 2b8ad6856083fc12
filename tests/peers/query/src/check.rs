//! Whether engines say the same.
//!
//! What must stay true: what an engine answers first is what all others must answer,
//! in every round; numbers are compared by value to nine digits, a field that is
//! missing is one that is null.

use crate::engines::Json;
use crate::queries::{Kind, Query};
use std::collections::HashMap;

/// The answers met first.
#[derive(Default)]
pub struct Answers(HashMap<String, (&'static str, Vec<String>)>);

impl Answers {
    /// Keeps an answer, or compares it with the one that is kept.
    pub fn compare(
        &mut self,
        question: String,
        engine: &'static str,
        answer: Vec<String>,
    ) -> Result<(), String> {
        let Some((first, kept)) = self.0.get(&question) else {
            self.0.insert(question, (engine, answer));
            return Ok(());
        };
        if *kept == answer {
            return Ok(());
        }
        let (a, b) = (kept.iter(), answer.iter());
        let at = a.zip(b).position(|(a, b)| a != b).unwrap_or(kept.len().min(answer.len()));
        let row = |rows: &[String]| rows.get(at).cloned().unwrap_or("nothing".to_owned());
        Err(format!(
            "{question}: {first} gives {} rows and {engine} {}; row {at} is {} and {}",
            kept.len(),
            answer.len(),
            row(kept),
            row(&answer)
        ))
    }
}

/// The rows of an answer as texts, sorted where their order was not asked for.
pub fn texts(query: &Query, rows: &[Json]) -> Vec<String> {
    let text = |row: &Json| {
        let fields = query.fields.iter().map(|path| value(&field(row, path)));
        fields.collect::<Vec<_>>().join(" | ")
    };
    let mut texts: Vec<_> = rows.iter().map(text).collect();
    if query.kind != Kind::Ordered {
        texts.sort_unstable();
    }
    texts
}

/// A field of a document, or the column that stands for it.
fn field(row: &Json, path: &str) -> Json {
    let column = row.get(crate::data::column(path));
    let nested = || path.split('.').try_fold(row, |at, name| at.get(name));
    column.or_else(nested).cloned().unwrap_or(Json::Null)
}

fn value(value: &Json) -> String {
    match value {
        Json::Number(number) => format!("{:.8e}", number.as_f64().unwrap_or(f64::NAN)),
        // An array that stands in a column as text.
        Json::String(text) if text.starts_with('[') => {
            serde_json::from_str::<Json>(text).map_or(text.clone(), |array| array.to_string())
        }
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}
