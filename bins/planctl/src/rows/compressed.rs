//! Files that are compressed: gzip and Zstandard, by the end of the name.
//!
//! What must stay true: several members or frames after each other are one stream,
//! as the tools that write them have it; bytes that are none are an error, and so is
//! an end in the middle.

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

const BUFFER: usize = 128 << 10;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// By the end of the file's name; and what the name is without it.
    pub(crate) fn of(path: &Path) -> (Compression, &Path) {
        let inner = || path.file_stem().map_or(path, Path::new);
        match path.extension().and_then(|end| end.to_str()).map(str::to_ascii_lowercase).as_deref()
        {
            Some("gz" | "gzip") => (Compression::Gzip, inner()),
            Some("zst" | "zstd") => (Compression::Zstd, inner()),
            _ => (Compression::None, path),
        }
    }

    /// The text behind.
    pub(super) fn reader(self, source: Box<dyn Read>) -> Box<dyn Read> {
        match self {
            Compression::None => source,
            Compression::Gzip => {
                let source = BufReader::with_capacity(BUFFER, source);
                let text = Gzip(MultiGzDecoder::new(source));
                Box::new(BufReader::with_capacity(BUFFER, text))
            }
            Compression::Zstd => Box::new(Frames {
                source: Some(BufReader::with_capacity(BUFFER, source)),
                frame: None,
            }),
        }
    }
}

/// Gzip that says what to do when it is none.
struct Gzip(MultiGzDecoder<BufReader<Box<dyn Read>>>);

impl Read for Gzip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        self.0.read(buffer).map_err(|error| match error.kind() {
            UnexpectedEof => io::Error::new(
                UnexpectedEof,
                "it ends within gzip data: was it cut off, or is it no gzip?",
            ),
            InvalidData | InvalidInput => {
                let text = format!("it is no gzip, or damaged: {error}; is it packed at all?");
                io::Error::new(InvalidData, text)
            }
            _ => error,
        })
    }
}

type Source = BufReader<Box<dyn Read>>;

/// Zstandard frames after each other.
struct Frames {
    /// Between frames.
    source: Option<Source>,
    frame: Option<StreamingDecoder<Source, ruzstd::decoding::FrameDecoder>>,
}

impl Read for Frames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                let read = frame.read(buffer)?;
                if read > 0 || buffer.is_empty() {
                    return Ok(read);
                }
                self.source = self.frame.take().map(StreamingDecoder::into_inner);
            }
            let Some(mut source) = self.source.take() else { return Ok(0) };
            if source.fill_buf()?.is_empty() {
                self.source = Some(source);
                return Ok(0);
            }
            let frame = StreamingDecoder::new(source).map_err(|e| {
                io::Error::new(io::ErrorKind::InvalidData, format!("this is no Zstandard: {e}"))
            })?;
            self.frame = Some(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(text).unwrap();
        out.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn text(of: Compression, bytes: Vec<u8>) -> io::Result<String> {
        let mut text = String::new();
        of.reader(Box::new(io::Cursor::new(bytes))).read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn members_after_each_other_are_one_stream_and_a_cut_is_an_error() {
        let long = "0123456789abcdef".repeat(20_000);
        for (of, pack) in
            [(Compression::Gzip, gzip as fn(&[u8]) -> Vec<u8>), (Compression::Zstd, zstd)]
        {
            let packed = [pack(b"one, "), pack(long.as_bytes()), pack(b"")].concat();
            assert_eq!(text(of, packed.clone()).unwrap(), format!("one, {long}"));
            let first = pack(b"one, ").len();
            for cut in [3, first - 1, first + 5] {
                assert!(text(of, packed[..cut].to_vec()).is_err(), "{of:?} cut at {cut}");
            }
            assert!(text(of, b"plain text".to_vec()).is_err(), "{of:?}");
            assert_eq!(text(of, Vec::new()).ok().unwrap_or_default(), "");
        }
    }

    #[test]
    fn the_name_tells() {
        for (name, of, inner) in [
            ("a/b.csv.gz", Compression::Gzip, "b.csv"),
            ("b.bson.ZST", Compression::Zstd, "b.bson"),
            ("a/b.csv", Compression::None, "a/b.csv"),
            ("-", Compression::None, "-"),
        ] {
            assert_eq!(Compression::of(Path::new(name)), (of, Path::new(inner)));
        }
    }
}
