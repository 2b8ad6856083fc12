//! What the end-to-end tests share: a built `planck`, run as a process.
