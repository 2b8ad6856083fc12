//! Many documents in one text: lines of objects, or an array of them.

use super::read::Reader;
use super::{JsonError, Limits};

/// Reads many documents: objects after each other, one a line or not, or one array
/// of objects. Stops after the first error.
pub fn parse_documents(text: &str, limits: Limits) -> Documents<'_> {
    Documents { reader: Reader::new(text, limits), state: State::Start }
}

/// Documents of one text, as [`parse_documents`] finds them.
pub struct Documents<'t> {
    reader: Reader<'t>,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Start,
    /// Between objects after each other.
    Lines,
    /// In an array, with its first item still to come or not.
    Array {
        first: bool,
    },
    Done,
}

impl Documents<'_> {
    /// How many bytes of the text are read.
    pub fn offset(&self) -> usize {
        self.reader.at
    }

    fn step(&mut self) -> Result<Option<Vec<u8>>, JsonError> {
        let reader = &mut self.reader;
        reader.space();
        if let State::Start = self.state {
            self.state = State::Lines;
            if reader.take(b'[') {
                self.state = State::Array { first: true };
                reader.space();
            }
        }
        if let State::Array { first } = self.state {
            if reader.take(b']') {
                // A comma before the bracket was refused where it stood.
                self.state = State::Done;
                reader.end()?;
                return Ok(None);
            }
            if !first {
                reader.expect(b',', "a comma or ] after an item")?;
                reader.space();
            }
            self.state = State::Array { first: false };
            return reader.document().map(Some);
        }
        if reader.peek().is_none() {
            self.state = State::Done;
            return Ok(None);
        }
        reader.document().map(Some)
    }
}

impl Iterator for Documents<'_> {
    type Item = Result<Vec<u8>, JsonError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let State::Done = self.state {
            return None;
        }
        let step = self.step().transpose();
        if !matches!(step, Some(Ok(_))) {
            self.state = State::Done;
        }
        step
    }
}
