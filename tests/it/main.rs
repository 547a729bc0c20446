//! The one crate of integration tests: `world` is the outside, faked or
//! started; `stories` are what people live through, a file each; `house`
//! checks that the rooms keep to their arrows.

mod house;
mod stories;
mod world;
