//! JSON rows off a stream: where one object ends and the next begins.
//!
//! What must stay true: only the brackets and quotes are looked at here, to find
//! the end of one object; its text then goes to `proto::json`, and nothing else of
//! the file is in memory. Lines and columns in messages are those of the file.

use super::{BadRow, MAX_ROW_TEXT, Next, Place, Rows, Shape, Stop};
use proto::json::parse_json;
use std::io::{BufRead, Read};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// One object a line; empty lines are passed over.
pub(super) struct Lines<R> {
    source: R,
    shape: Shape,
    /// Behind the line read last.
    place: Place,
    /// Whether lines that begin with # are no rows: a quarantine file's.
    comments: bool,
    text: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(source: R, shape: Shape, comments: bool, start: Place) -> Lines<R> {
        Lines { source, shape, place: start, comments, text: Vec::new() }
    }
}

impl<R: BufRead> Rows for Lines<R> {
    fn next(&mut self) -> Result<Option<Next>, Stop> {
        loop {
            self.text.clear();
            let mut limited = self.source.by_ref().take(MAX_ROW_TEXT as u64 + 1);
            if limited.read_until(b'\n', &mut self.text).map_err(Stop::Io)? == 0 {
                return Ok(None);
            }
            self.place.lines += 1;
            self.place.offset += self.text.len() as u64;
            if self.text.len() > MAX_ROW_TEXT {
                return Err(Stop::Broken(BadRow::new(self.place.lines, too_long())));
            }
            let solid = self.text.trim_ascii();
            if !(solid.is_empty() || self.comments && solid[0] == b'#') {
                return Ok(Some(row(&self.shape, &self.text, self.place.lines, 1)));
            }
        }
    }

    fn place(&self) -> Place {
        self.place
    }

    fn raw(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text.trim_ascii());
        out.push(b'\n');
    }
}

/// Reads one object that stands at `line` and `column`.
fn row(shape: &Shape, text: &[u8], line: u64, column: u64) -> Next {
    let Ok(text) = std::str::from_utf8(text) else {
        return Err(BadRow::new(line, "the text is not UTF-8; convert the file"));
    };
    match parse_json(text) {
        Ok(document) => shape.row(document, line),
        Err(error) => {
            let at = line + error.line as u64 - 1;
            let before = if error.line == 1 { column - 1 } else { 0 };
            let column = before + error.column as u64;
            Err(BadRow::new(at, format!("column {column}: {}", error.what)))
        }
    }
}

fn too_long() -> String {
    format!("a row passes {} MiB here; is a quote or bracket not closed?", MAX_ROW_TEXT >> 20)
}

/// Objects after each other, or one array of objects.
pub(super) struct Objects<R> {
    source: R,
    shape: Shape,
    /// Whether lines that begin with # are no rows: a quarantine file's.
    comments: bool,
    offset: u64,
    line: u64,
    /// In characters, from 1.
    column: u64,
    state: State,
    text: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Start,
    /// Objects after each other.
    Loose,
    /// After `[`, or after an item of it.
    Array {
        first: bool,
    },
    /// After `]`.
    Closed,
}

impl<R: BufRead> Objects<R> {
    pub(super) fn new(source: R, shape: Shape, comments: bool, start: Place) -> Objects<R> {
        let state = match start {
            Place { offset: 0, .. } => State::Start,
            Place { in_array: true, .. } => State::Array { first: false },
            _ => State::Loose,
        };
        let (line, column) = (start.lines + 1, start.columns + 1);
        let offset = start.offset;
        Objects { source, shape, comments, offset, line, column, state, text: Vec::new() }
    }

    fn peek(&mut self) -> Result<Option<u8>, Stop> {
        loop {
            match self.source.fill_buf() {
                Ok(buffer) => return Ok(buffer.first().copied()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Stop::Io(error)),
            }
        }
    }

    /// Passes the byte that was peeked at.
    fn pass(&mut self, byte: u8) {
        self.source.consume(1);
        self.offset += 1;
        advance(byte, &mut self.line, &mut self.column);
    }

    /// The next byte that is no white space, not passed.
    fn solid(&mut self) -> Result<Option<u8>, Stop> {
        let mut comment = false;
        while let Some(byte) = self.peek()? {
            comment = (comment && byte != b'\n') || (self.comments && byte == b'#');
            if !comment && !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Ok(Some(byte));
            }
            self.pass(byte);
        }
        Ok(None)
    }

    fn broken<T>(&self, expected: &str, found: Option<u8>) -> Result<T, Stop> {
        let found = match found {
            None => "the end of the file".to_owned(),
            Some(byte) if byte.is_ascii_graphic() => format!("{:?}", char::from(byte)),
            Some(byte) => format!("byte {byte:#04x}"),
        };
        let what = format!("column {}: expected {expected}, found {found}", self.column);
        Err(Stop::Broken(BadRow::new(self.line, what)))
    }

    /// Reads up to the brace that closes the object which starts here.
    fn object(&mut self) -> Result<Next, Stop> {
        let (line, column) = (self.line, self.column);
        let mut scan = Scan::default();
        self.text.clear();
        loop {
            let buffer = match self.source.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Stop::Io(error)),
            };
            if buffer.is_empty() {
                let what = "this object has no end; is a quote or bracket not closed?";
                return Err(Stop::Broken(BadRow::new(line, what)));
            }
            let taken = scan.find_end(buffer);
            let part = &buffer[..taken];
            for byte in part {
                advance(*byte, &mut self.line, &mut self.column);
            }
            self.text.extend_from_slice(part);
            self.source.consume(taken);
            self.offset += taken as u64;
            if scan.depth == 0 {
                return Ok(row(&self.shape, &self.text, line, column));
            }
            if self.text.len() > MAX_ROW_TEXT {
                return Err(Stop::Broken(BadRow::new(line, too_long())));
            }
        }
    }
}

/// Moves a place in the text behind a byte. Bytes inside a character count nothing.
fn advance(byte: u8, line: &mut u64, column: &mut u64) {
    if byte == b'\n' {
        *line += 1;
        *column = 1;
    } else if byte & 0xC0 != 0x80 {
        *column += 1;
    }
}

/// Where in an object the bytes read so far end.
#[derive(Default)]
struct Scan {
    depth: usize,
    string: bool,
    escape: bool,
}

impl Scan {
    /// How many bytes belong to the object: all, or up to its last bracket, which
    /// leaves `depth` at 0.
    fn find_end(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                _ if self.escape => self.escape = false,
                b'\\' if self.string => self.escape = true,
                b'"' => self.string = !self.string,
                b'{' | b'[' if !self.string => self.depth += 1,
                b'}' | b']' if !self.string => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return at + 1;
                    }
                }
                _ => {}
            }
        }
        bytes.len()
    }
}

impl<R: BufRead> Rows for Objects<R> {
    fn next(&mut self) -> Result<Option<Next>, Stop> {
        if self.state == State::Start {
            self.state = State::Loose;
            if self.peek()? == Some(BOM[0]) {
                for byte in BOM {
                    match self.peek()? {
                        Some(found) if found == *byte => {
                            self.source.consume(1);
                            self.offset += 1;
                        }
                        found => return self.broken("an object or an array", found),
                    }
                }
            }
            if self.solid()? == Some(b'[') {
                self.pass(b'[');
                self.state = State::Array { first: true };
            }
        }
        let mut found = self.solid()?;
        if let State::Array { first } = self.state {
            match found {
                Some(b']') => {
                    self.pass(b']');
                    self.state = State::Closed;
                    found = self.solid()?;
                }
                Some(b',') if !first => {
                    self.pass(b',');
                    found = self.solid()?;
                }
                other if !first => return self.broken("a comma or ] after an item", other),
                _ => {}
            }
        }
        match (self.state, found) {
            (State::Closed | State::Loose, None) => Ok(None),
            (State::Closed, found) => self.broken("the end of the file after ]", found),
            (_, Some(b'{')) => {
                if let State::Array { .. } = self.state {
                    self.state = State::Array { first: false };
                }
                self.object().map(Some)
            }
            (_, found) => self.broken("an object, {...}", found),
        }
    }

    fn place(&self) -> Place {
        let in_array = matches!(self.state, State::Array { .. });
        let (lines, columns) = (self.line - 1, self.column - 1);
        Place { offset: self.offset, lines, columns, in_array }
    }

    fn raw(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::KeySpec;
    use crate::rows::tests::read;
    use proptest::prelude::*;
    use std::io::BufReader;

    fn objects(text: &str) -> Vec<String> {
        let whole = read(Objects::new(text.as_bytes(), Shape::default(), false, Place::default()));
        for step in [1, 2, 7] {
            let source = BufReader::with_capacity(step, text.as_bytes());
            assert_eq!(
                read(Objects::new(source, Shape::default(), false, Place::default())),
                whole,
                "step {step}"
            );
        }
        whole
    }

    fn lines(text: &str) -> Vec<String> {
        read(Lines::new(text.as_bytes(), Shape::default(), false, Place::default()))
    }

    #[test]
    fn an_array_one_object_and_objects_after_each_other_are_read() {
        let rows = ["2 - {\"a\":\"{[}]]\\\"\\\\\"}", "3 - {\"b\":[{}]}"];
        assert_eq!(objects("[\n{\"a\": \"{[}]]\\\"\\\\\"},\n {\"b\": [{}]}\n]\n"), rows);
        assert_eq!(objects("\u{feff} {\"a\":1}"), ["1 - {\"a\":1}"]);
        assert_eq!(
            objects("{\"a\":1}{\"a\":2}\n\n{\"a\":3}"),
            ["1 - {\"a\":1}", "1 - {\"a\":2}", "3 - {\"a\":3}"]
        );
        for empty in ["", " \n", "[]", " [ ] "] {
            assert_eq!(objects(empty), [""; 0], "{empty:?}");
        }
    }

    #[test]
    fn a_bad_object_leaves_the_next_one_readable() {
        let text = "[{\"a\": 1},\n {\"a\":\n tru}, {\"é\": 1, x}, {y}, {\"a\": 2}]";
        assert_eq!(
            objects(text),
            [
                "1 - {\"a\":1}",
                "3: column 2: expected a value, found \"tru\"",
                "3: column 17: expected a field name in quotes, found 'x'",
                "3: column 22: expected a field name in quotes, found 'y'",
                "3 - {\"a\":2}",
            ]
        );
    }

    #[test]
    fn broken_text_says_where_and_stops() {
        for (text, says) in [
            ("[{} {}]", "STOP 1: column 5: expected a comma or ] after an item, found '{'"),
            ("[{},]", "STOP 1: column 5: expected an object, {...}, found ']'"),
            ("[1]", "STOP 1: column 2: expected an object, {...}, found '1'"),
            ("\n [", "STOP 2: column 3: expected an object, {...}, found the end of the file"),
            (
                "[{}",
                "STOP 1: column 4: expected a comma or ] after an item, found the end of the file",
            ),
            ("[] {}", "STOP 1: column 4: expected the end of the file after ], found '{'"),
            ("a,b\n1,2\n", "STOP 1: column 1: expected an object, {...}, found 'a'"),
            ("{}\n{\"a\": \"", "STOP 2: this object has no end; is a quote or bracket not closed?"),
        ] {
            assert_eq!(objects(text).last().unwrap(), says, "{text}");
        }
    }

    #[test]
    fn lines_are_counted_and_empty_ones_passed_over() {
        let text = "{\"a\": 1}\r\n\n{\"a\": \n{\"a\": 2} {}\n{\"a\": 3}";
        assert_eq!(
            lines(text),
            [
                "1 - {\"a\":1}",
                "4: column 1: expected a value, found the end of the text",
                "4: column 10: expected the end, found '{'",
                "5 - {\"a\":3}",
            ]
        );
    }

    #[test]
    fn a_row_brings_its_key_or_is_given_one() {
        let key = "000102030405060708090a0b0c0d0e0f";
        let text = format!(
            "{{\"a\": 1, \"key\": \"{key}\", \"b\": 2}}\n{{\"key\": 5}}\n{{\"key\": \"5\"}}"
        );
        let read_lines = lines(&text);
        assert_eq!(read_lines[0], format!("1 {key} {{\"a\":1,\"b\":2}}"));
        assert!(read_lines[1].contains("not int32; rename"), "{}", read_lines[1]);
        assert!(read_lines[2].contains("32 hexadecimal digits"), "{}", read_lines[2]);

        let spec: KeySpec = "a:u8".parse().unwrap();
        let shape = Shape { key: Some(spec), ..Shape::default() };
        let rows = read(Lines::new(
            format!("{{\"a\":1}}\n{text}").as_bytes(),
            shape,
            false,
            Place::default(),
        ));
        assert_eq!(rows[0], "1 01000000000000000000000000000000 {\"a\":1}");
        assert!(rows[1].contains("leave that option out"), "{}", rows[1]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_rows_or_faults(bytes in proptest::collection::vec(
            prop_oneof![Just(b'{'), Just(b'}'), Just(b'['), Just(b']'), Just(b'"'), Just(b'\\'),
                        Just(b','), Just(b':'), Just(b'a'), Just(b'1'), Just(b'\n'), any::<u8>()], 0..60)) {
            read(Objects::new(&bytes[..], Shape::default(), false, Place::default()));
            read(Lines::new(&bytes[..], Shape::default(), false, Place::default()));
        }
    }
}
