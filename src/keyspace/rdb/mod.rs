//! The reading of RDB files.
