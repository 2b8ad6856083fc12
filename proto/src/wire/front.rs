//! What stands at the front of a buffer, and what is said to who sent no packet.
//!
//! What must stay true: a length is compared with the limit before anything is
//! kept because of it, and bytes that cannot begin a packet are refused as soon
//! as they are seen, not when 24 of them have come.

use crate::codec::DecodeError;
use crate::packet::{HEADER_BYTES, Header, MAGIC, VERSION, foreign};
use crate::{ReplyWriter, Status};

/// What stands at the front of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Front {
    /// Not a whole packet yet: it will have this many bytes, as far as known.
    Partial(usize),
    /// A whole packet of this many bytes.
    Whole(Header, usize),
    /// A packet over the limit, of this many bytes.
    TooLarge(Header, usize),
    /// A packet of another version of the protocol.
    Foreign {
        /// Its version.
        version: u8,
        /// Its id.
        id: u64,
    },
    /// No packet.
    Bad(DecodeError),
}

/// Looks at the front of `bytes`, of which a packet may be `limit` long.
pub fn front(bytes: &[u8], limit: usize) -> Front {
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
        Err(error) => match foreign(start) {
            Some((version, id)) => Front::Foreign { version, id },
            None => Front::Bad(error),
        },
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

/// Why no more packets are taken from a stream: its last reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The id of the packet that is at fault; 0 if it has none.
    pub id: u64,
    /// What kind of fault.
    pub status: Status,
    /// What happened and what to do, for people.
    pub message: String,
}

impl Fault {
    /// A fault in words.
    pub fn new(id: u64, status: Status, message: impl Into<String>) -> Fault {
        Fault { id, status, message: message.into() }
    }

    pub(super) fn bad(error: &DecodeError) -> Fault {
        Fault::new(0, Status::BadPacket, error.to_string())
    }

    pub(super) fn foreign(version: u8, id: u64) -> Fault {
        let message = format!(
            "version {VERSION} of the protocol is spoken here, and the packet is of version \
             {version}: use a release of the client that speaks version {VERSION}"
        );
        Fault::new(id, Status::UnknownVersion, message)
    }

    pub(super) fn too_large(id: u64, total: usize, limit: usize) -> Fault {
        let message = format!(
            "the request has {total} bytes, limits.max_message_size is {limit}; send less at a time"
        );
        Fault::new(id, Status::MessageTooLarge, message)
    }

    pub(super) fn large_auth(id: u64) -> Fault {
        let message = format!("an Auth request has at most {} bytes", super::AUTH_BYTES);
        Fault::new(id, Status::MessageTooLarge, message)
    }

    pub(super) fn no_auth(id: u64) -> Fault {
        Fault::new(id, Status::NotAuthenticated, "send Auth with a user and key first")
    }

    /// Appends its reply packet.
    pub fn write(&self, out: &mut Vec<u8>) {
        ReplyWriter::new(self.id, out).error(self.status, &self.message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Request;
    use proptest::prelude::*;

    fn packet() -> Vec<u8> {
        let mut packet = Vec::new();
        Request::Query { text: "a.count()", parameters: None }.encode(7, &mut packet);
        packet
    }

    #[test]
    fn every_prefix_is_partial_and_the_whole_is_whole() {
        let packet = packet();
        for cut in 0..packet.len() {
            let due = if cut < HEADER_BYTES { HEADER_BYTES } else { packet.len() };
            assert_eq!(front(&packet[..cut], 1000), Front::Partial(due), "cut at {cut}");
        }
        let more = [&packet[..], &packet[..5]].concat();
        assert!(matches!(front(&more, 1000), Front::Whole(h, n) if h.id == 7 && n == packet.len()));
    }

    #[test]
    fn the_limit_is_the_whole_packet() {
        let packet = packet();
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

    #[test]
    fn another_version_is_told_once_its_id_is_there() {
        let mut packet = packet();
        packet[4] = 2;
        assert_eq!(front(&packet[..23], 1000), Front::Partial(HEADER_BYTES));
        assert_eq!(front(&packet[..24], 0), Front::Foreign { version: 2, id: 7 });
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
