//! The program `rediscue`.

fn main() {}
