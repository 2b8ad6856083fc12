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
pub struct Answers {
    rows: HashMap<String, (&'static str, Vec<String>)>,
    counts: HashMap<String, (&'static str, Vec<u64>)>,
}

impl Answers {
    /// Keeps what each answer to a list of questions counts, or compares it with what is
    /// kept, as far as both go: one of them may have been cut off.
    pub fn compare_counts(
        &mut self,
        question: &str,
        engine: &'static str,
        counts: Vec<u64>,
    ) -> Result<(), String> {
        let Some((first, kept)) = self.counts.get_mut(question) else {
            self.counts.insert(question.to_owned(), (engine, counts));
            return Ok(());
        };
        if let Some(at) = kept.iter().zip(&counts).position(|(a, b)| a != b) {
            let (a, b) = (kept[at], counts[at]);
            return Err(format!(
                "{question}: answer {at} of {first} counts {a}, that of {engine} {b}"
            ));
        }
        if counts.len() > kept.len() {
            (*first, *kept) = (engine, counts);
        }
        Ok(())
    }

    /// Keeps an answer, or compares it with the one that is kept.
    pub fn compare(
        &mut self,
        question: String,
        engine: &'static str,
        answer: Vec<String>,
    ) -> Result<(), String> {
        let Some((first, kept)) = self.rows.get(&question) else {
            self.rows.insert(question, (engine, answer));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_compared_as_far_as_both_go() {
        let mut answers = Answers::default();
        let mut compare = |engine, counts: &[u64]| {
            answers.compare_counts("how many", engine, counts.to_vec()).map_err(|_| engine)
        };
        assert_eq!(compare("cut off", &[3, 1]), Ok(()));
        assert_eq!(compare("whole", &[3, 1, 7]), Ok(()));
        assert_eq!(compare("wrong", &[3, 2]), Err("wrong"));
        // What the one that was cut off did not say, another one did.
        assert_eq!(compare("wrong at the end", &[3, 1, 6]), Err("wrong at the end"));
    }

    #[test]
    fn rows_are_compared_whole() {
        let mut answers = Answers::default();
        let mut compare = |engine, rows: &[&str]| {
            let rows = rows.iter().map(|row| (*row).to_owned()).collect();
            answers.compare("which".to_owned(), engine, rows).map_err(|_| engine)
        };
        assert_eq!(compare("first", &["a", "b"]), Ok(()));
        assert_eq!(compare("same", &["a", "b"]), Ok(()));
        assert_eq!(compare("shorter", &["a"]), Err("shorter"));
        assert_eq!(compare("other", &["a", "c"]), Err("other"));
    }
}
