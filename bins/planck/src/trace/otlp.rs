//! Finished traces as OTLP has them: one `ExportTraceServiceRequest` in protobuf.
//!
//! ```text
//! request    1 resource spans
//!   1 resource { 1 attribute }   2 scope spans { 1 scope { 1 name 2 version } 2 span .. }
//! span       1 trace id  2 span id  4 parent  5 name  6 kind  7 begun  8 ended
//!            9 attribute ..  15 status { 3 code }
//! attribute  1 key  2 value { 1 text | 3 number }
//! ```
//!
//! Written by hand: it is a page of protobuf, and the crates for it bring a client, a server
//! and a registry of their own along. `tests/tests/traces.rs` reads what is written by another
//! reader of protobuf.

use super::{Finished, Span, Value};

/// Wire types of protobuf.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
/// `STATUS_CODE_ERROR`.
const FAILED: u64 = 2;

/// A message being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.varint(field << 3 | VARINT);
        self.varint(value);
    }

    fn fixed(&mut self, field: u64, value: u64) {
        self.varint(field << 3 | FIXED64);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn message(&mut self, field: u64, fill: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }

    fn attribute(&mut self, field: u64, key: &str, value: &Value) {
        self.message(field, |attribute| {
            attribute.bytes(1, key.as_bytes());
            attribute.message(2, |any| match value {
                Value::Text(text) => any.bytes(1, text.as_bytes()),
                Value::Number(number) => any.number(3, *number),
            });
        });
    }

    fn span(&mut self, trace: u128, span: &Span) {
        self.bytes(1, &trace.to_be_bytes());
        self.bytes(2, &span.id.to_be_bytes());
        if let Some(parent) = span.parent {
            self.bytes(4, &parent.to_be_bytes());
        }
        self.bytes(5, span.name.as_bytes());
        self.number(6, span.role as u64);
        self.fixed(7, span.begun);
        self.fixed(8, span.ended);
        for (key, value) in &span.attributes {
            self.attribute(9, key, value);
        }
        if span.failed {
            self.message(15, |status| status.number(3, FAILED));
        }
    }
}

/// The request that sends these traces of a service.
pub(super) fn request(service: &str, traces: &[Finished]) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let mut request = Message::default();
    request.message(1, |of| {
        of.message(1, |resource| {
            for (key, value) in [("service.name", service), ("service.version", version)] {
                resource.attribute(1, key, &Value::Text(value.to_owned()));
            }
        });
        of.message(2, |scope| {
            scope.message(1, |scope| {
                scope.bytes(1, b"planck");
                scope.bytes(2, version.as_bytes());
            });
            for trace in traces {
                for span in &trace.spans {
                    scope.message(2, |message| message.span(trace.id, span));
                }
            }
        });
    });
    request.0
}
