//! What a WASM runtime must do for Planck: traits, guest ABI, limits, pool, conformance suite
