//! A stream that carries one packet: of a session over QUIC.
//!
//! What must stay true: a stream holds exactly one packet; what is wrong with it is the
//! fault of this stream alone, and told as soon as it is seen.

use super::AUTH_BYTES;
use super::front::{Fault, Front, front};
use crate::Status;
use crate::packet::{Header, Kind, Opcode};

/// The server's side of such a stream.
#[derive(Debug)]
pub struct Lone {
    bytes: Vec<u8>,
    limit: usize,
    auth: bool,
}

impl Lone {
    /// The first stream of a session.
    pub fn auth() -> Lone {
        Lone { bytes: Vec::new(), limit: AUTH_BYTES, auth: true }
    }

    /// A later one, whose packet may have so many bytes.
    pub fn request(limit: usize) -> Lone {
        Lone { bytes: Vec::new(), limit, auth: false }
    }

    /// How long the packet will be, as far as known.
    ///
    /// # Errors
    /// It cannot be taken.
    pub fn wants(&self) -> Result<usize, Fault> {
        match front(&self.bytes, self.limit) {
            Front::Partial(total) => Ok(total),
            Front::Whole(header, total) => {
                self.check(&header)?;
                if self.bytes.len() > total {
                    let message = "there are bytes behind the packet of this stream";
                    return Err(Fault::new(header.id, Status::BadPacket, message));
                }
                Ok(total)
            }
            Front::TooLarge(header, total) => {
                self.check(&header)?;
                Err(match self.auth {
                    true => Fault::large_auth(header.id),
                    false => Fault::too_large(header.id, total, self.limit),
                })
            }
            Front::Foreign { version, id } => Err(Fault::foreign(version, id)),
            Front::Bad(error) => Err(Fault::bad(&error)),
        }
    }

    /// Takes bytes: those that the packet has room for, and one more, which is one too
    /// many.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut left = bytes;
        while let (Ok(total), false) = (self.wants(), left.is_empty()) {
            let room = (total - self.bytes.len()).clamp(1, left.len());
            self.bytes.extend_from_slice(&left[..room]);
            left = &left[room..];
        }
    }

    /// The stream has ended: its packet.
    ///
    /// # Errors
    /// There is none.
    pub fn end(&self) -> Result<(Header, &[u8]), Fault> {
        self.wants()?;
        match front(&self.bytes, self.limit) {
            Front::Whole(header, _) => Ok((header, &self.bytes)),
            _ => {
                let message = "the stream ended before its packet did";
                Err(Fault::new(self.id(), Status::BadPacket, message))
            }
        }
    }

    /// The id of its packet; 0 if that is not known.
    pub fn id(&self) -> u64 {
        Header::parse(&self.bytes).map_or(0, |header| header.id)
    }

    /// What has come.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes that are kept.
    pub fn kept(&self) -> usize {
        self.bytes.len()
    }

    fn check(&self, header: &Header) -> Result<(), Fault> {
        if self.auth && (header.kind, header.code) != (Kind::Request, Opcode::Auth as u16) {
            return Err(Fault::no_auth(header.id));
        }
        if header.kind == Kind::Cancel {
            let message = "a request of this session is cancelled by stopping its stream";
            return Err(Fault::new(header.id, Status::BadPacket, message));
        }
        Ok(())
    }
}
