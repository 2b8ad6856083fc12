//! The JIT backend: production
