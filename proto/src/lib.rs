//! The packet protocol and documents: bytes in, packets out, no I/O
