//! The one crate of integration tests: `world` is the outside, faked or
//! started; `stories` are what people live through, a file each; `house`
//! checks that the rooms keep to their arrows.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "tests fail by panicking, and are nobody's library"
)]

mod house;
mod stories;
mod world;
