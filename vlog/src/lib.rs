//! The segmented value log
