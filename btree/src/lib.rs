//! A copy-on-write B+tree page file: many trees, one atomic switch
