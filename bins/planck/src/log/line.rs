//! One event as one line: for people, or as JSON.
//!
//! ```text
//! 2026-11-22T18:30:00.123Z  WARN net::refusal: refused a connection peer=127.0.0.1:9
//! {"time":"..","level":"WARN","target":"net::refusal","message":"..","fields":{"peer":".."}}
//! ```
//!
//! What must stay true: a line has one end, its own; JSON stays JSON where a value is cut
//! or a field left out.

use super::LINE_BYTES;
use crate::when::moment;
use std::fmt::{self, Debug, Write};
use tracing::Level;
use tracing::field::{Field, Visit};

/// Bytes of one value at most, as written; the message's included.
const VALUE_BYTES: usize = 4 << 10;
/// Room for what is said of what was left out, and for the end of the line.
const SPARE: usize = 64;
/// Stands behind a value that was cut.
const CUT: &str = "..";

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// For people.
    Text {
        /// With the level in colour.
        colours: bool,
    },
    /// For programs.
    Json,
}

/// A line being written.
pub struct Line {
    how: How,
    head: String,
    message: String,
    fields: String,
    left_out: usize,
}

impl Line {
    /// Begins the line of an event.
    pub fn begin(how: How, micros: u64, level: Level, target: &str) -> Line {
        let (time, mut head) = (moment(micros), String::with_capacity(128));
        let target = Escaped::of(how, format_args!("{target}"));
        let colour = match level {
            Level::ERROR => 31,
            Level::WARN => 33,
            Level::INFO => 32,
            Level::DEBUG => 34,
            Level::TRACE => 35,
        };
        let said = match how {
            How::Text { colours: true } => {
                write!(head, "{time} \x1b[{colour}m{level:>5}\x1b[0m {target}:")
            }
            How::Text { colours: false } => write!(head, "{time} {level:>5} {target}:"),
            How::Json => {
                let level = level.as_str();
                write!(head, r#"{{"time":"{time}","level":"{level}","target":"{target}""#)
            }
        };
        debug_assert!(said.is_ok(), "a string takes all");
        Line { how, head, message: String::new(), fields: String::new(), left_out: 0 }
    }

    /// The whole line, its end included.
    pub fn end(self) -> String {
        let Line { how, head: mut out, message, fields, left_out } = self;
        let said = match (how, left_out) {
            (How::Text { .. }, 0) => writeln!(out, " {message}{fields}"),
            (How::Text { .. }, n) => writeln!(out, " {message}{fields} fields_left_out={n}"),
            (How::Json, n) => {
                let n = if n == 0 { String::new() } else { format!(r#","fields_left_out":{n}"#) };
                let fields = fields.strip_prefix(',').unwrap_or(&fields);
                writeln!(out, r#","message":"{message}","fields":{{{fields}}}{n}}}"#)
            }
        };
        debug_assert!(said.is_ok() && out.len() <= LINE_BYTES, "a line is bounded");
        out
    }

    /// A value as it is to stand there; `is_word`: in JSON without quotes.
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>, is_word: bool) {
        let value = Escaped::of(self.how, value);
        if field.name() == "message" {
            self.message = value;
            return;
        }
        let name = field.name();
        let piece = match (self.how, is_word) {
            (How::Text { .. }, _) => format!(" {name}={value}"),
            (How::Json, true) => format!(r#","{name}":{value}"#),
            (How::Json, false) => format!(r#","{name}":"{value}""#),
        };
        let so_far = self.head.len() + self.message.len().max(VALUE_BYTES) + self.fields.len();
        if so_far + piece.len() + SPARE > LINE_BYTES {
            self.left_out += 1;
        } else {
            self.fields += &piece;
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format_args!("{value:?}"), false);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match self.how {
            // So that its end can be seen.
            How::Text { .. } if field.name() != "message" => {
                self.put(field, format_args!("{value:?}"), false);
            }
            _ => self.put(field, format_args!("{value}"), false),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, format_args!("{value}"), true);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, format_args!("{value}"), true);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, format_args!("{value}"), true);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, format_args!("{value}"), value.is_finite());
    }
}

/// Takes characters, and keeps them so that they cannot be taken for anything else.
struct Escaped {
    how: How,
    out: String,
    is_cut: bool,
}

impl Escaped {
    fn of(how: How, value: fmt::Arguments<'_>) -> String {
        let mut escaped = Escaped { how, out: String::new(), is_cut: false };
        // What a value's own `Debug` refuses to say is left out.
        escaped.write_fmt(value).ok();
        if escaped.is_cut {
            escaped.out.push_str(CUT);
        }
        escaped.out
    }
}

/// Ends a line somewhere, or changes how what follows is shown.
fn is_odd(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl Write for Escaped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let before = self.out.len();
            match (self.how, c) {
                (How::Json, '"' | '\\') => self.out.extend(['\\', c]),
                (How::Json, c) if is_odd(c) => write!(self.out, "\\u{:04x}", u32::from(c))?,
                (How::Text { .. }, c) if is_odd(c) => self.out.extend(c.escape_default()),
                (_, c) => self.out.push(c),
            }
            if self.out.len() > VALUE_BYTES - CUT.len() {
                self.out.truncate(before);
                self.is_cut = true;
                return Err(fmt::Error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::json::parse_json;
    use std::sync::{Arc, Mutex};
    use tracing::{Event, Subscriber};
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::{Context, SubscriberExt};

    struct Lines(How, Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut line = Line::begin(self.0, 0, *event.metadata().level(), "a::b");
            event.record(&mut line);
            self.1.lock().unwrap().push(line.end());
        }
    }

    /// The line of each event, both ways; the JSON must be some.
    fn lines(say: impl Fn()) -> [String; 2] {
        [How::Text { colours: false }, How::Json].map(|how| {
            let said = Arc::default();
            let layer = Lines(how, Arc::clone(&said));
            let registry = tracing_subscriber::registry().with(layer);
            tracing::subscriber::with_default(registry, &say);
            let mut said = said.lock().unwrap();
            let line = said.pop().unwrap();
            assert!(said.is_empty());
            let body = line.strip_suffix('\n').unwrap();
            assert!(!body.chars().any(is_odd), "{body:?}");
            assert!(line.len() <= LINE_BYTES, "{} bytes", line.len());
            if how == How::Json {
                assert!(parse_json(body).is_ok(), "{body}");
            }
            line
        })
    }

    #[test]
    fn an_event_is_one_line_of_either_form() {
        let [text, json] = lines(|| {
            let shown = std::net::Ipv4Addr::LOCALHOST;
            tracing::warn!(peer = %shown, user = "a b", n = 3, ok = true, part = 0.5, "it {}", "is");
        });
        assert_eq!(
            text,
            "1970-01-01T00:00:00Z  WARN a::b: it is peer=127.0.0.1 user=\"a b\" n=3 ok=true \
             part=0.5\n"
        );
        assert_eq!(
            json,
            "{\"time\":\"1970-01-01T00:00:00Z\",\"level\":\"WARN\",\"target\":\"a::b\",\
             \"message\":\"it is\",\"fields\":{\"peer\":\"127.0.0.1\",\"user\":\"a b\",\"n\":3,\
             \"ok\":true,\"part\":0.5}}\n"
        );
        let [text, json] = lines(|| tracing::error!("alone"));
        assert!(text.ends_with("ERROR a::b: alone\n"), "{text}");
        assert!(json.ends_with("\"message\":\"alone\",\"fields\":{}}\n"), "{json}");
    }

    #[test]
    fn no_words_make_two_lines_of_one() {
        let evil = "a\nINFO b: c\r\x1b[31m\u{85}\u{2028}\u{202e}\"\\";
        let [text, json] = lines(|| {
            tracing::info!(plain = evil, shown = %evil, told = ?evil, not = f64::NAN, "{evil}");
        });
        assert!(text.contains("b: a\\nINFO b: c\\r\\u{1b}[31m"), "{text}");
        assert!(json.contains("a\\u000aINFO b: c\\u000d\\u001b[31m\\u0085\\u2028\\u202e\\\"\\\\"));
        assert!(json.contains("\"not\":\"NaN\""), "{json}");
    }

    #[test]
    fn a_value_is_kept_up_to_its_bound_and_cut_beyond() {
        for (fits, bytes) in [(true, VALUE_BYTES - 2), (false, VALUE_BYTES - 1)] {
            let long = "x".repeat(bytes);
            for line in lines(|| tracing::info!(v = %long, "{long}")) {
                assert_eq!(line.contains(&long), fits);
                assert_eq!(line.contains(&format!("{}..", &long[..VALUE_BYTES - 2])), !fits);
            }
        }
        // Escapes count as they are written, and none is cut in half.
        for line in lines(|| tracing::info!("{}", "\u{1}".repeat(LINE_BYTES))) {
            assert!(line.contains(".."), "{line}");
        }
    }

    #[test]
    fn fields_that_do_not_fit_the_line_are_counted() {
        let long = "y".repeat(2 * VALUE_BYTES);
        let [text, json] = lines(|| {
            tracing::info!(a = %long, b = %long, c = %long, d = %long, e = 7, "{long}");
        });
        assert!(text.ends_with(" e=7 fields_left_out=2\n"), "{}", &text[text.len() - 60..]);
        assert!(json.ends_with(",\"e\":7},\"fields_left_out\":2}\n"));
    }
}
