//! The local chat.
