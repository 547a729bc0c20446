//! The local chat: a terminal, a script's pipe, or JSON lines.
//!
//! The bot's side is [`Console`], a gateway like any other. The reader's side
//! is a session ([`run`]) that prints what it hears and sends what is typed.
//! Between them is a [`Link`], in memory for `rediscue try` and over the Unix
//! socket of [`server`] and [`client`] for `rediscue console`, speaking the
//! messages of [`wire`] both times: there is one way to be at the console.
//!
//! Who speaks is decided by the bot's side. On the socket that is whoever the
//! operating system says; only a link made by this program itself
//! ([`Who::People`]) may speak for several people.

mod clean;
pub mod client;
mod complete;
mod editor;
mod gateway;
mod ink;
mod render;
mod screen;
pub mod server;
mod session;
mod table;
mod typed;
pub mod wire;

pub use clean::{clean, clean_json};
pub use complete::{CompletedCommand, Completions};
pub use gateway::{Console, Link, Peer, Who, host_name};
pub use render::{Style, render};
pub use server::{Server, SocketError};
pub use session::{Ended, Input, Options, Output, run};

/// The channel id of the console's only channel.
pub const CHANNEL: &str = "console";
