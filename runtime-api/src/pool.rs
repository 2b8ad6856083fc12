//! pool
pub struct Pool; pub struct PoolOptions;