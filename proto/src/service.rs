//! What a guest is answered by `host_call_service`: a packet, then a body.
//!
//! ```text
//! header     kind 1 (reply), code: the status, id 0, patience 0
//! status Ok  version:u8 (1)  status:u16  headers:u16  headers x (name:str16 value:bytes16)
//! else       message:rest (UTF-8)
//! ```
//!
//! After Ok this is the head of the upstream's response, as in [`crate::http`]. Its body
//! does not stand in the packet: `host_read` gives it, from the offset [`BODY_AT`] on, while
//! it arrives. The request is that of [`crate::http`], with an empty `peer`.
//!
//! Invariant: no reply packet reaches [`BODY_AT`], so an offset means one thing.

use crate::codec::DecodeError;
use crate::http::{HeadersBuf, HttpResponse, write_response};
use crate::packet::{HEADER_BYTES, Header, Kind};
use crate::{ReplyWriter, Status};

/// Where the body begins for `host_read`: its byte `n` stands at `BODY_AT + n`.
pub const BODY_AT: u32 = 1 << 31;

/// The answer of `host_call_service`, borrowed from its packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ServiceReply<'a> {
    /// The upstream answered: this is the head, and its body is empty here.
    Head(HttpResponse<'a>),
    /// It was not called, or gave no answer.
    Error {
        /// What kind of failure.
        status: Status,
        /// What happened and what to do, for people.
        message: &'a str,
    },
}

impl<'a> ServiceReply<'a> {
    /// Reads a whole packet.
    ///
    /// # Errors
    /// It is no such packet.
    pub fn decode(packet: &'a [u8]) -> Result<Self, DecodeError> {
        let (header, body) = Header::split(packet)?;
        if header.kind != Kind::Reply {
            return Err(DecodeError::new("packet kind", "is not that of a reply, which is due"));
        }
        let status = Status::from_number(header.code)
            .ok_or(DecodeError::new("status", "is unknown: the host is of a newer release"))?;
        if status != Status::Ok {
            let message = core::str::from_utf8(body)
                .map_err(|_| DecodeError::new("error message", "is not UTF-8"))?;
            return Ok(ServiceReply::Error { status, message });
        }
        let head = HttpResponse::decode(body)?;
        if !head.body.is_empty() {
            return Err(DecodeError::new("service reply", "goes on after its headers"));
        }
        Ok(ServiceReply::Head(head))
    }
}

/// Appends the packet of a response's head to `out`.
pub fn write_head(out: &mut Vec<u8>, status: u16, headers: &HeadersBuf) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    write_response(out, status, headers, &[]);
    let body = u32::try_from(out.len() - start - HEADER_BYTES)
        .expect("hosts bound the head of a response far below 4 GiB");
    let code = Status::Ok as u16;
    let header = Header { kind: Kind::Reply, code, id: 0, body, patience: 0 };
    out[start..start + HEADER_BYTES].copy_from_slice(&header.to_bytes());
}

/// Appends the packet of a failure to `out`.
pub fn write_error(out: &mut Vec<u8>, status: Status, message: &str) {
    ReplyWriter::new(0, out).error(status, message);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_head_is_these_bytes() {
        let mut headers = HeadersBuf::new();
        assert!(headers.push("a", b"b"));
        let mut packet = vec![9];
        write_head(&mut packet, 404, &headers);
        let golden = [
            9, b'P', b'L', b'N', b'K', 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0,
            1, 0x94, 1, 1, 0, 1, 0, b'a', 1, 0, b'b',
        ];
        assert_eq!(packet, golden);
        let ServiceReply::Head(head) = ServiceReply::decode(&packet[1..]).unwrap() else {
            panic!("a head")
        };
        assert_eq!((head.status, head.headers.get("a")), (404, Some(&b"b"[..])));
    }

    #[test]
    fn an_error_keeps_status_and_words() {
        let mut packet = Vec::new();
        write_error(&mut packet, Status::UpstreamTimeout, "late");
        let read = ServiceReply::decode(&packet).unwrap();
        assert_eq!(read, ServiceReply::Error { status: Status::UpstreamTimeout, message: "late" });
    }

    #[test]
    fn a_packet_that_goes_on_or_is_a_request_is_refused() {
        let mut packet = Vec::new();
        write_head(&mut packet, 200, &HeadersBuf::new());
        packet.push(0);
        packet[16] += 1;
        assert_eq!(ServiceReply::decode(&packet).unwrap_err().what, "service reply");
        packet[5] = 0;
        assert_eq!(ServiceReply::decode(&packet).unwrap_err().what, "packet kind");
    }

    proptest! {
        #[test]
        fn bytes_of_a_stranger_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut packet = Vec::new();
            write_head(&mut packet, 200, &HeadersBuf::new());
            packet.truncate(HEADER_BYTES);
            packet[16] = bytes.len() as u8;
            packet.extend_from_slice(&bytes);
            // Whatever it is, it is read or refused.
            drop(ServiceReply::decode(&packet));
        }
    }
}
