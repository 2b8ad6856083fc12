//! What one call may use.
//!
//! Every limit holds per call of `process` (and per making of an instance, which
//! counts as one call), except memory and tables, which hold per instance.

use crate::abi;

/// The bounds of a call and of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Units of metered work: about one per WebAssembly instruction, plus one per
    /// 64 bytes that a bulk operation moves or a growth adds.
    pub fuel: u64,
    /// Wall time in nanoseconds. Looked at when a slice of fuel is used up and at
    /// every host call, so a call overruns it by a slice at most.
    pub deadline_nanos: u64,
    /// Linear memory in bytes, at most [`abi::MAX_MEMORY_BYTES`].
    pub memory_bytes: u64,
    /// Elements of each table, at most [`abi::MAX_TABLE_ELEMENTS`].
    pub table_elements: u32,
    /// Calls of imports, of any kind.
    pub host_calls: u32,
    /// Bytes of the request and of each packet given to `host_request`.
    pub request_bytes: u32,
    /// Bytes of the response.
    pub response_bytes: u32,
    /// Bytes the guest may log; what exceeds it is dropped with one note.
    pub log_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: 10_000_000_000,
            deadline_nanos: 5_000_000_000,
            memory_bytes: 64 << 20,
            table_elements: 100_000,
            host_calls: 10_000,
            request_bytes: 16 << 20,
            response_bytes: 16 << 20,
            log_bytes: 64 << 10,
        }
    }
}

impl Limits {
    /// Refuses values that could not be enforced or would let nothing run.
    ///
    /// # Errors
    /// A sentence naming the limit, its value and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        let memory = self.memory_bytes;
        if !(abi::PAGE_BYTES..=abi::MAX_MEMORY_BYTES).contains(&memory) {
            return Err(format!(
                "a memory limit of {memory} bytes is out of range: choose {} to {}",
                abi::PAGE_BYTES,
                abi::MAX_MEMORY_BYTES
            ));
        }
        if self.table_elements > abi::MAX_TABLE_ELEMENTS {
            return Err(format!(
                "a table limit of {} elements is out of range: choose at most {}",
                self.table_elements,
                abi::MAX_TABLE_ELEMENTS
            ));
        }
        if self.fuel == 0 || self.deadline_nanos == 0 {
            return Err("a fuel or deadline of 0 lets no call run: choose at least 1".to_owned());
        }
        if self.request_bytes > abi::MAX_PACKET_BYTES || self.response_bytes > abi::MAX_PACKET_BYTES
        {
            return Err(format!(
                "a request or response limit above {} bytes is out of range: choose a smaller one",
                abi::MAX_PACKET_BYTES
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_allowed_and_the_unenforceable_is_not() {
        let fine = Limits::default();
        assert_eq!(fine.check(), Ok(()));
        for (bad, word) in [
            (Limits { memory_bytes: 65_535, ..fine }, "memory"),
            (Limits { memory_bytes: (2 << 30) + 1, ..fine }, "memory"),
            (Limits { table_elements: u32::MAX, ..fine }, "table"),
            (Limits { fuel: 0, ..fine }, "fuel"),
            (Limits { deadline_nanos: 0, ..fine }, "deadline"),
            (Limits { response_bytes: u32::MAX, ..fine }, "response"),
        ] {
            let said = bad.check().expect_err("must be refused");
            assert!(said.contains(word), "{said}");
        }
    }
}
