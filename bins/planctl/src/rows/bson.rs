//! BSON rows: documents after each other, as `mongodump` writes a collection.
//!
//! What must stay true: a length read from the file is checked before so much is
//! taken into memory. A document that is framed well and bad inside leaves the next
//! one readable; a length that cannot be ends the reading.

use super::{BadRow, MAX_ROW_TEXT, Next, Place, Rows, Shape, Stop};
use proto::doc::Doc;
use std::io::{BufRead, Read};

pub(super) struct Documents<R> {
    source: R,
    shape: Shape,
    place: Place,
    bytes: Vec<u8>,
}

impl<R: BufRead> Documents<R> {
    pub(super) fn new(source: R, shape: Shape, start: Place) -> Documents<R> {
        Documents { source, shape, place: start, bytes: Vec::new() }
    }

    /// Reads the next document whole; false at the end.
    fn read(&mut self) -> Result<bool, Stop> {
        let number = self.place.lines + 1;
        let broken = |what: String| Err(Stop::Broken(BadRow::new(number, what)));
        self.bytes.clear();
        self.source.by_ref().take(4).read_to_end(&mut self.bytes).map_err(Stop::Io)?;
        let cut = "the file ends within it; it was cut off";
        let length = match self.bytes.first_chunk::<4>() {
            Some(length) => i32::from_le_bytes(*length),
            None if self.bytes.is_empty() => return Ok(false),
            None => return broken(cut.to_owned()),
        };
        let Some(length) = usize::try_from(length).ok().filter(|n| (5..=MAX_ROW_TEXT).contains(n))
        else {
            return broken(format!(
                "it says that it is {length} bytes long, and documents are from 5 bytes to {} MiB; \
                 is this file BSON?",
                MAX_ROW_TEXT >> 20
            ));
        };
        let rest = (length - 4) as u64;
        self.source.by_ref().take(rest).read_to_end(&mut self.bytes).map_err(Stop::Io)?;
        if self.bytes.len() != length {
            return broken(cut.to_owned());
        }
        self.place.offset += length as u64;
        self.place.lines += 1;
        Ok(true)
    }
}

impl<R: BufRead> Rows for Documents<R> {
    fn next(&mut self) -> Result<Option<Next>, Stop> {
        if !self.read()? {
            return Ok(None);
        }
        let number = self.place.lines;
        Ok(Some(match Doc::parse(&self.bytes) {
            Ok(doc) => self.shape.row(doc.as_bytes().to_vec(), number),
            Err(error) => Err(BadRow::new(number, error.to_string())),
        }))
    }

    fn place(&self) -> Place {
        self.place
    }

    fn raw(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::tests::{read, read_all};
    use proptest::prelude::*;
    use proto::doc::DocBuf;

    fn document(n: i32) -> Vec<u8> {
        let mut doc = DocBuf::new();
        doc.push("n", n);
        doc.finish().unwrap()
    }

    #[test]
    fn a_document_that_is_bad_inside_leaves_the_next_one_readable() {
        let mut bad = document(2);
        bad[4] = 0x0e; // A symbol.
        let file = [document(1), bad, document(3)].concat();
        let rows = read(Documents::new(&file[..], Shape::default(), Place::default()));
        assert_eq!(rows[0], "1 - {\"n\":1}");
        assert!(rows[1].starts_with("2: ") && rows[1].contains("symbol"), "{}", rows[1]);
        assert_eq!(rows[2..], ["3 - {\"n\":3}"]);
    }

    #[test]
    fn what_is_cut_off_or_no_bson_ends_the_reading() {
        let whole = [document(1), document(2)].concat();
        for cut in document(1).len() + 1..whole.len() {
            let rows = read(Documents::new(&whole[..cut], Shape::default(), Place::default()));
            let told = ["1 - {\"n\":1}", "STOP 2: the file ends within it; it was cut off"];
            assert_eq!(rows, told, "{cut}");
        }
        for start in [[0xff; 4], [4, 0, 0, 0], [0, 0, 0, 5]] {
            let rows = read(Documents::new(&start[..], Shape::default(), Place::default()));
            assert!(rows[0].contains("is this file BSON?"), "{rows:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_rows_or_faults(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            read_all(Documents::new(&bytes[..], Shape::default(), Place::default()));
        }
    }
}
