//! Samples and rules in, what changed out.
//!
//! Nothing is here yet: the room is named so that its neighbours know where the thing will live.
