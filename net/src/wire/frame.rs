//! Where the next packet in a buffer ends. No socket in here.
//!
//! What must stay true: a length is compared with the limit before anything is
//! kept because of it, and bytes that cannot begin a packet are refused as soon
//! as they are seen, not when 24 of them have come.

use proto::codec::DecodeError;
use proto::packet::{HEADER_BYTES, Header, MAGIC};
use proto::{ReplyWriter, Status};

/// What stands at the front of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// Not a whole packet yet: it will have this many bytes, as far as known.
    Partial(usize),
    /// A whole packet of this many bytes.
    Whole(Header, usize),
    /// A packet over the limit.
    TooLarge(Header, usize),
    /// No packet.
    Bad(DecodeError),
}

pub(crate) fn front(bytes: &[u8], limit: usize) -> Front {
    let Some(start) = bytes.get(..HEADER_BYTES) else {
        let seen = bytes.len().min(MAGIC.len());
        if bytes[..seen] == MAGIC[..seen] {
            return Front::Partial(HEADER_BYTES);
        }
        let mut padded = [0; HEADER_BYTES];
        padded[..bytes.len()].copy_from_slice(bytes);
        return Header::parse(&padded).map_or_else(Front::Bad, |_| Front::Partial(HEADER_BYTES));
    };
    match Header::parse(start) {
        Err(error) => Front::Bad(error),
        Ok(header) => {
            let total = HEADER_BYTES.saturating_add(header.body as usize);
            if total > limit {
                Front::TooLarge(header, total)
            } else if bytes.len() < total {
                Front::Partial(total)
            } else {
                Front::Whole(header, total)
            }
        }
    }
}

/// One error packet.
pub(crate) fn error(id: u64, status: Status, message: &str) -> Vec<u8> {
    let mut out = Vec::new();
    ReplyWriter::new(id, &mut out).error(status, message);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proto::Request;

    fn ping() -> Vec<u8> {
        let mut packet = Vec::new();
        Request::Query { text: "a.count()", parameters: None }.encode(7, &mut packet);
        packet
    }

    #[test]
    fn every_prefix_is_partial_and_the_whole_is_whole() {
        let packet = ping();
        for cut in 0..packet.len() {
            let due = if cut < HEADER_BYTES { HEADER_BYTES } else { packet.len() };
            assert_eq!(front(&packet[..cut], 1000), Front::Partial(due), "cut at {cut}");
        }
        let more = [&packet[..], &packet[..5]].concat();
        assert!(matches!(front(&more, 1000), Front::Whole(h, n) if h.id == 7 && n == packet.len()));
    }

    #[test]
    fn the_limit_is_the_whole_packet() {
        let packet = ping();
        let header = Header::parse(&packet).unwrap();
        assert_eq!(front(&packet, packet.len()), Front::Whole(header, packet.len()));
        let too_large = Front::TooLarge(header, packet.len());
        assert_eq!(front(&packet[..HEADER_BYTES], packet.len() - 1), too_large);
    }

    #[test]
    fn a_wrong_first_byte_is_enough() {
        assert!(matches!(front(b"G", 1000), Front::Bad(_)));
        assert!(matches!(front(b"PLNX", 1000), Front::Bad(_)));
        assert_eq!(front(b"PL", 1000), Front::Partial(HEADER_BYTES));
    }

    proptest! {
        #[test]
        fn bytes_of_a_stranger_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), limit in 0usize..100) {
            if let Front::Whole(_, total) = front(&bytes, limit) {
                prop_assert!(total <= bytes.len() && total <= limit);
            }
        }
    }
}
