//! Rows for people: a table, or a block a row where a table would not fit.
//!
//! What must stay true: no byte of a document reaches a terminal as a control
//! character.

use comfy_table::{Cell, CellAlignment, Table, presets};
use proto::Key;
use proto::doc::{Doc, Value};
use proto::json::{date_time_to_text, write_value};
use std::collections::BTreeMap;

/// Rows of a reply with a column for every field, in the order first seen.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    columns: Vec<String>,
    places: BTreeMap<String, usize>,
    /// For each row, its cells by column.
    rows: Vec<BTreeMap<usize, (String, bool)>>,
}

impl Rows {
    /// The rows as they come.
    pub(crate) fn new<'a>(rows: impl Iterator<Item = (Option<Key>, Doc<'a>)>) -> Rows {
        let mut all = Rows::default();
        for (key, doc) in rows {
            let mut cells = BTreeMap::new();
            if let Some(key) = key {
                cells.insert(all.column("key"), (key.to_string(), false));
            }
            for (name, value) in doc {
                let place = all.column(name);
                cells.entry(place).or_insert_with(|| (shown(value), value.is_number()));
            }
            all.rows.push(cells);
        }
        all
    }

    fn column(&mut self, name: &str) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.columns.len();
        self.columns.push(name.to_owned());
        self.places.insert(name.to_owned(), place);
        place
    }

    /// A table; a block a row if it would be wider than `width` characters.
    pub(crate) fn render(&self, width: Option<usize>) -> String {
        let table = self.table();
        let wide = table.lines().next().map_or(0, |line| line.chars().count());
        match width {
            Some(width) if wide > width => self.blocks(),
            _ => table,
        }
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED).force_no_tty();
        table.set_header(self.columns.iter().map(|name| visible(name)));
        for row in &self.rows {
            table.add_row((0..self.columns.len()).map(|place| match row.get(&place) {
                Some((text, true)) => Cell::new(text).set_alignment(CellAlignment::Right),
                Some((text, false)) => Cell::new(text),
                None => Cell::new(""),
            }));
        }
        table.trim_fmt()
    }

    fn blocks(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|name| visible(name)).collect();
        let wide = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            text.push_str(&format!("-- row {} --\n", number + 1));
            for (place, (cell, _)) in row {
                text.push_str(&format!("{:wide$}  {cell}\n", names[*place]));
            }
        }
        text.pop();
        text
    }
}

/// A value as one cell: text and times as they are, all else as JSON.
pub(crate) fn plain(value: Value<'_>) -> String {
    if let Value::String(text) = value {
        return text.to_owned();
    }
    if let Value::DateTime(millis) = value
        && let Some(text) = date_time_to_text(millis)
    {
        return text;
    }
    let mut text = String::new();
    write_value(value, &mut text);
    text
}

fn shown(value: Value<'_>) -> String {
    visible(&plain(value))
}

/// Text with its control characters escaped.
pub(crate) fn visible(text: &str) -> String {
    if !text.contains(|c: char| c.is_control()) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

/// The columns of the terminal standard output goes to, if it does.
pub(crate) fn terminal_width() -> Option<usize> {
    if !crate::output::to_a_person() {
        return None;
    }
    Table::new().width().map(usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::json::parse_json;

    fn rows(texts: &[&str], keyed: bool) -> Rows {
        let docs: Vec<Vec<u8>> = texts.iter().map(|text| parse_json(text).unwrap()).collect();
        Rows::new(
            docs.iter().enumerate().map(|(number, doc)| {
                (keyed.then_some(Key(number as u128)), Doc::parse(doc).unwrap())
            }),
        )
    }

    #[test]
    fn a_table_has_a_column_for_every_field_in_the_order_first_seen() {
        let rows = rows(&[r#"{"b": 7, "a": "x"}"#, r#"{"a": "yy", "c": [1, {"d": null}]}"#], false);
        let expected = "\
┌───┬────┬────────────────┐
│ b ┆ a  ┆ c              │
╞═══╪════╪════════════════╡
│ 7 ┆ x  ┆                │
│   ┆ yy ┆ [1,{\"d\":null}] │
└───┴────┴────────────────┘";
        assert_eq!(rows.render(None), expected);
        assert_eq!(rows.render(Some(27)), expected);
    }

    #[test]
    fn what_does_not_fit_the_terminal_becomes_blocks() {
        let rows = rows(&[r#"{"carrier": "9E", "n": 1}"#, r#"{"n": 2}"#], true);
        let expected = "\
-- row 1 --
key      00000000000000000000000000000000
carrier  9E
n        1
-- row 2 --
key      00000000000000000000000000000001
n        2";
        assert_eq!(rows.render(Some(20)), expected);
    }

    #[test]
    fn control_characters_are_shown_not_sent() {
        let rows = rows(&[r#"{"a": "x\u001b[31my\nz\u0085"}"#], false);
        let text = rows.render(None);
        assert!(text.contains("x\\u{1b}[31my\\nz\\u{85}"), "{text}");
    }

    #[test]
    fn a_time_is_shown_as_text() {
        assert_eq!(plain(Value::DateTime(0)), "1970-01-01T00:00:00Z");
        assert_eq!(plain(Value::Double(2.0)), "2.0");
        assert_eq!(plain(Value::Null), "null");
    }
}
