//! What a guest written in Rust needs
