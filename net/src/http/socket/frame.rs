//! Frames of a WebSocket (RFC 6455, 5), without I/O: bytes in, messages out.
//!
//! What must stay true: nothing a client sends is understood in two ways: what is no frame
//! of a client ends the connection by its code. A message has at most `limit` bytes, which
//! is seen by its head, before they come; whoever reads is told how many it will have, so
//! that their memory can be refused. Bytes may come in any pieces.
//!
//! ```text
//! head     fin:1 rsv:3 opcode:4  mask:1 length:7  [length:u16 or u64, big-endian]  [mask:4]
//! payload  each byte xor the mask's byte of its place, if there is one; a server has none
//! ```

use bytes::Bytes;

/// Bytes of a control frame's payload at most.
const CONTROL: u64 = 125;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Binary,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A message that has begun will have at least so many bytes.
    Grows(usize),
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    /// With its code, if there is one.
    Close(Option<u16>),
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Protocol(&'static str),
    NoText,
    TooLarge,
}

impl Fault {
    /// The code of the close (RFC 6455, 7.4.1), and its words.
    pub(super) fn close(self) -> (u16, &'static str) {
        match self {
            Fault::Protocol(why) => (1002, why),
            Fault::NoText => (1007, "a text is UTF-8"),
            Fault::TooLarge => (1009, "the message is too large"),
        }
    }
}

/// The payload of a frame on its way in.
#[derive(Debug)]
struct Payload {
    opcode: u8,
    is_fin: bool,
    mask: [u8; 4],
    /// Bytes that have come, and are to come.
    at: u64,
    left: u64,
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Decoder {
    limit: usize,
    head: Vec<u8>,
    payload: Option<Payload>,
    /// The message that has begun.
    kind: Option<Kind>,
    message: Vec<u8>,
    control: Vec<u8>,
}

impl Decoder {
    pub(super) fn new(limit: usize) -> Decoder {
        let (head, message, control) = (Vec::new(), Vec::new(), Vec::new());
        Decoder { limit, head, payload: None, kind: None, message, control }
    }

    /// Whether a message, or a frame, has begun and not ended.
    pub(super) fn is_within(&self) -> bool {
        self.kind.is_some() || self.payload.is_some() || !self.head.is_empty()
    }

    /// Bytes of the message that has begun.
    pub(super) fn received(&self) -> usize {
        self.message.len()
    }

    /// Takes bytes off the front, up to what comes next; `None`: all were taken.
    ///
    /// # Errors
    /// No client may send this. Nothing is to be fed any more.
    pub(super) fn feed(&mut self, bytes: &mut &[u8]) -> Result<Option<Event>, Fault> {
        loop {
            if let Some(payload) = &mut self.payload {
                let into = if payload.opcode >= 8 { &mut self.control } else { &mut self.message };
                let now =
                    usize::try_from(payload.left).map_or(bytes.len(), |left| left.min(bytes.len()));
                let (taken, rest) = bytes.split_at(now);
                let at = payload.at;
                let unmasked =
                    taken.iter().zip(at..).map(|(byte, at)| byte ^ payload.mask[(at % 4) as usize]);
                into.extend(unmasked);
                payload.at += now as u64;
                payload.left -= now as u64;
                *bytes = rest;
                if payload.left > 0 {
                    return Ok(None);
                }
                let (opcode, is_fin) = (payload.opcode, payload.is_fin);
                self.payload = None;
                match self.end(opcode, is_fin)? {
                    None => continue,
                    event => return Ok(event),
                }
            }
            let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
            self.head.push(*first);
            *bytes = rest;
            if let Some(payload) = self.begin()? {
                let is_data = payload.opcode < 8;
                let due = self.message.len() + usize::try_from(payload.left).unwrap_or(usize::MAX);
                self.payload = Some(payload);
                if is_data {
                    return Ok(Some(Event::Grows(due)));
                }
            }
        }
    }

    /// The frame that begins here, once its head is whole.
    fn begin(&mut self) -> Result<Option<Payload>, Fault> {
        let wrong = |why| Err(Fault::Protocol(why));
        let first = self.head[0];
        let (is_fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        if first & 0x70 != 0 {
            return wrong("no extension was agreed on");
        }
        if !matches!(opcode, 0..=2 | 8..=10) {
            return wrong("there is no such frame");
        }
        let Some(second) = self.head.get(1) else { return Ok(None) };
        if second & 0x80 == 0 {
            return wrong("what a client sends is masked");
        }
        let is_control = opcode >= 8;
        let (short, more) = match second & 0x7f {
            126 => (0, 2),
            127 => (0, 8),
            short => (u64::from(short), 0),
        };
        if is_control && (more > 0 || !is_fin) {
            return wrong("a control frame is short and whole");
        }
        if self.head.len() < 2 + more + 4 {
            return Ok(None);
        }
        let (long, mask) = self.head[2..].split_at(more);
        let length = long.iter().fold(short, |sum, byte| sum << 8 | u64::from(*byte));
        if (more == 2 && length < 126) || (more == 8 && length < 1 << 16) || length >> 63 != 0 {
            return wrong("a length is told as shortly as can be");
        }
        let mask = [mask[0], mask[1], mask[2], mask[3]];
        self.head.clear();
        if !is_control {
            match (opcode, self.kind) {
                (0, None) => return wrong("nothing has begun that could go on"),
                (1 | 2, Some(_)) => return wrong("a message has begun, and has not ended"),
                (1, None) => self.kind = Some(Kind::Text),
                (2, None) => self.kind = Some(Kind::Binary),
                _ => {}
            }
            if length.saturating_add(self.message.len() as u64) > self.limit as u64 {
                return Err(Fault::TooLarge);
            }
        }
        debug_assert!(!is_control || length <= CONTROL, "seven bits below 126");
        Ok(Some(Payload { opcode, is_fin, mask, at: 0, left: length }))
    }

    /// A frame is whole.
    fn end(&mut self, opcode: u8, is_fin: bool) -> Result<Option<Event>, Fault> {
        match opcode {
            8 => {
                close_code(&std::mem::take(&mut self.control)).map(|code| Some(Event::Close(code)))
            }
            9 => Ok(Some(Event::Ping(std::mem::take(&mut self.control)))),
            10 => {
                self.control.clear();
                Ok(Some(Event::Pong))
            }
            _ if !is_fin => Ok(None),
            _ => {
                let message = std::mem::take(&mut self.message);
                let Some(kind) = self.kind.take() else { return Ok(None) };
                if kind == Kind::Text && std::str::from_utf8(&message).is_err() {
                    return Err(Fault::NoText);
                }
                Ok(Some(Event::Message(kind, message)))
            }
        }
    }
}

/// Whether a close may have the code (RFC 6455, 7.4.2).
pub(super) fn is_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, Fault> {
    match payload {
        [] => Ok(None),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !is_code(code) {
                return Err(Fault::Protocol("no close has that code"));
            }
            std::str::from_utf8(reason).map_err(|_| Fault::NoText)?;
            Ok(Some(code))
        }
        [_] => Err(Fault::Protocol("a code has two bytes")),
    }
}

/// What a server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A message, or a part of one: whether it is the first, and the last.
    Data(Kind, bool, bool),
    Close,
    Ping,
    Pong,
}

/// The head of a frame of so many bytes.
pub(super) fn head(frame: Frame, length: usize) -> Bytes {
    let first = match frame {
        Frame::Data(kind, is_first, is_last) => {
            let opcode = match (is_first, kind) {
                (false, _) => 0,
                (true, Kind::Text) => 1,
                (true, Kind::Binary) => 2,
            };
            u8::from(is_last) << 7 | opcode
        }
        Frame::Close => 0x88,
        Frame::Ping => 0x89,
        Frame::Pong => 0x8a,
    };
    let mut head = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if u64::from(short) <= CONTROL => head.push(short),
        (_, Ok(long)) => {
            head.push(126);
            head.extend(long.to_be_bytes());
        }
        _ => {
            head.push(127);
            head.extend((length as u64).to_be_bytes());
        }
    }
    head.into()
}

/// Whether bytes that come in pieces are UTF-8.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// The beginning of a character whose end is to come.
    begun: Vec<u8>,
}

impl Utf8 {
    /// Whether all that came is, as far as it can be known.
    pub(super) fn takes(&mut self, mut piece: &[u8]) -> bool {
        while !self.begun.is_empty() {
            let Some((first, rest)) = piece.split_first() else { return true };
            self.begun.push(*first);
            piece = rest;
            match std::str::from_utf8(&self.begun) {
                Ok(_) => self.begun.clear(),
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        match std::str::from_utf8(piece) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            Err(error) => {
                self.begun = piece[error.valid_up_to()..].to_vec();
                true
            }
        }
    }

    /// Whether no character has begun without an end; what comes next begins anew.
    pub(super) fn ends(&mut self) -> bool {
        std::mem::take(&mut self.begun).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As a client sends it.
    fn sent(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0xa5, 0x01, 0x00, 0x7f];
        let mut bytes = head(Frame::Ping, payload.len()).to_vec();
        (bytes[0], bytes[1]) = (first, bytes[1] | 0x80);
        bytes.extend(mask);
        bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
        bytes
    }

    /// All that comes, in pieces of so many bytes, but `Grows`.
    fn heard(bytes: &[u8], piece: usize) -> Result<Vec<Event>, Fault> {
        let (mut decoder, mut all) = (Decoder::new(100_000), Vec::new());
        for mut piece in bytes.chunks(piece) {
            while let Some(event) = decoder.feed(&mut piece)? {
                if !matches!(event, Event::Grows(_)) {
                    all.push(event);
                }
            }
        }
        Ok(all)
    }

    #[test]
    fn messages_come_whole_in_whatever_frames_and_pieces() {
        let text = |text: &str| Event::Message(Kind::Text, text.as_bytes().to_vec());
        let long = "long ".repeat(13_107);
        let frames = [
            sent(0x81, b"hello"),
            sent(0x81, b""),
            sent(0x01, b"in "),
            sent(0x89, b"ping"),
            sent(0x00, b"three "),
            sent(0x8a, b""),
            sent(0x80, b"parts"),
            sent(0x82, &[0xff, 0]),
            sent(0x81, &long.as_bytes()[..125]),
            sent(0x81, &long.as_bytes()[..126]),
            sent(0x81, &long.as_bytes()[..65_535]),
            sent(0x81, &[long.as_bytes(), b"."].concat()),
            sent(0x88, &[&3000_u16.to_be_bytes()[..], b"bye"].concat()),
        ];
        let expected = [
            text("hello"),
            text(""),
            Event::Ping(b"ping".to_vec()),
            Event::Pong,
            text("in three parts"),
            Event::Message(Kind::Binary, vec![0xff, 0]),
            text(&long[..125]),
            text(&long[..126]),
            text(&long),
            text(&format!("{long}.")),
            Event::Close(Some(3000)),
        ];
        for piece in [1, 2, 3, 7, 1000, usize::MAX] {
            assert!(heard(&frames.concat(), piece).unwrap() == expected, "{piece}");
        }
    }

    #[test]
    fn what_no_client_may_send_has_its_code() {
        let unmasked = [&head(Frame::Data(Kind::Text, true, true), 2)[..], b"hi"].concat();
        let long = |length: &[u8], kind: u8| [&[0x81, 0x80 | kind], length, &[0; 4]].concat();
        for (bytes, code) in [
            (unmasked, 1002),
            (sent(0xc1, b"x"), 1002),
            (sent(0x91, b"x"), 1002),
            (sent(0x83, b"x"), 1002),
            (sent(0x8b, b"x"), 1002),
            (sent(0x09, b"x"), 1002),
            (sent(0x89, &[0; 126]), 1002),
            (sent(0x80, b"x"), 1002),
            ([sent(0x01, b"x"), sent(0x81, b"x")].concat(), 1002),
            (long(&125_u16.to_be_bytes(), 126), 1002),
            (long(&65_535_u64.to_be_bytes(), 127), 1002),
            (long(&(1_u64 << 63).to_be_bytes(), 127), 1002),
            (sent(0x88, b"x"), 1002),
            (sent(0x88, &999_u16.to_be_bytes()), 1002),
            (sent(0x88, &1005_u16.to_be_bytes()), 1002),
            (sent(0x88, &5000_u16.to_be_bytes()), 1002),
            (sent(0x88, &[3, 232, 0xff]), 1007),
            (sent(0x81, &[0xff]), 1007),
            ([sent(0x01, &[0xc3]), sent(0x80, &[0x28])].concat(), 1007),
            (sent(0x81, &[0xe2, 0x82]), 1007),
            (long(&100_001_u64.to_be_bytes(), 127), 1009),
            (long(&(u64::MAX >> 1).to_be_bytes(), 127), 1009),
            ([sent(0x01, &[b'x'; 100_000]), sent(0x80, b"x")].concat(), 1009),
        ] {
            for piece in [1, usize::MAX] {
                let fault = heard(&bytes, piece).expect_err("it is refused");
                assert_eq!(fault.close().0, code, "{:x?} {fault:?}", &bytes[..bytes.len().min(12)]);
            }
        }
        assert!(
            heard(&sent(0x81, &[b'x'; 100_000]), usize::MAX).is_ok(),
            "the largest there may be"
        );
        assert_eq!(heard(&sent(0x88, b""), 1).unwrap(), [Event::Close(None)]);
    }

    #[test]
    fn a_message_is_told_by_its_head_before_it_comes() {
        let mut decoder = Decoder::new(100_000);
        let bytes = sent(0x01, &[b'x'; 60_000]);
        let mut one = &bytes[..8];
        assert_eq!(decoder.feed(&mut one), Ok(Some(Event::Grows(60_000))));
        assert!(decoder.is_within() && decoder.received() == 0);
        let mut rest = &bytes[8..];
        assert_eq!(decoder.feed(&mut rest), Ok(None));
        let next = sent(0x80, &[b'x'; 40_000]);
        let mut next = &next[..];
        assert_eq!(decoder.feed(&mut next), Ok(Some(Event::Grows(100_000))));
        assert!(matches!(decoder.feed(&mut next), Ok(Some(Event::Message(Kind::Text, _)))));
        assert!(!decoder.is_within());
    }

    #[test]
    fn text_is_known_to_be_text_in_any_pieces() {
        for (bytes, is_text) in [
            (&b""[..], true),
            ("a\u{e9}\u{20ac}\u{1f600}z".as_bytes(), true),
            (&[0xff], false),
            (&[0xe2, 0x82], false),
            (&[0xed, 0xa0, 0x80], false),
            (&[b'a', 0xc3, 0x28], false),
        ] {
            for piece in 1..=bytes.len().max(1) {
                let mut utf8 = Utf8::default();
                let all = bytes.chunks(piece).all(|piece| utf8.takes(piece));
                assert_eq!(all && utf8.ends(), is_text, "{bytes:x?} {piece}");
            }
        }
    }

    proptest! {
        #[test]
        fn bytes_of_a_stranger_never_panic_and_mean_the_same_in_any_pieces(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1_usize..20
        ) {
            prop_assert_eq!(heard(&bytes, piece), heard(&bytes, usize::MAX));
        }

        #[test]
        fn what_is_sent_is_heard(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..9),
            piece in 1_usize..400
        ) {
            let bytes: Vec<u8> = messages.iter().flat_map(|message| sent(0x82, message)).collect();
            let expected: Vec<_> =
                messages.into_iter().map(|message| Event::Message(Kind::Binary, message)).collect();
            prop_assert_eq!(heard(&bytes, piece).unwrap(), expected);
        }
    }
}
