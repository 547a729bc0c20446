//! Discord, through serenity. Only this room will know embeds.
//!
//! Nothing speaks to Discord yet; the room is named so that nothing Discord-shaped grows elsewhere.
