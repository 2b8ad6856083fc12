//! An operation that is part of a transaction: `operation:u16  its body`.
//!
//! Invariant: what it holds is the body of one whole request, which is none of these.

use super::Request;
use crate::codec::{DecodeError, Reader};
use crate::packet::Opcode;

/// A request within another one, by its body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part<'a> {
    pub(super) operation: Opcode,
    pub(super) body: &'a [u8],
}

impl<'a> Part<'a> {
    /// That request, whose body is written to `room`; of one that is part of a transaction
    /// already, what is in it.
    pub fn of(request: &Request<'_>, room: &'a mut Vec<u8>) -> Part<'a> {
        let (_, request) = request.within();
        room.clear();
        request.encode_body(room);
        Part { operation: request.opcode(), body: room }
    }

    pub(super) fn decode(body: &mut Reader<'a>) -> Result<Part<'a>, DecodeError> {
        let operation = Opcode::from_number(body.u16("operation of a transaction")?);
        let Some(operation) = operation.filter(|operation| *operation != Opcode::Within) else {
            return Err(DecodeError::new("operation of a transaction", "is none"));
        };
        let part = Part { operation, body: body.rest() };
        Request::decode_body(part.operation, part.body)?;
        Ok(part)
    }

    /// The request.
    pub fn request(&self) -> Request<'a> {
        Request::decode_body(self.operation, self.body).expect("it was read, or written, whole")
    }
}
