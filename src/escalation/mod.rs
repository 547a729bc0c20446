//! An incident, schedules and now in; whom to page and when to look again out.
//!
//! Nothing is here yet: the room is named so that its neighbours know where the thing will live.
