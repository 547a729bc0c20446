//! The outside: servers that are started for a test and end with it.
