//! State, timeline, updates and post-mortem of incidents.
//!
//! Nothing is here yet: the room is named so that its neighbours know where the thing will live.
