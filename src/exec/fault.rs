//! Why a call brought no answer, before it is explained to people.

use std::{error::Error as _, io, time::Duration};

use crate::{
    diagnosis::{
        Explained,
        errors::{self, ErrorContext, NetworkFault},
    },
    model::{Address, Credential},
};

use super::value::error_line;

/// Why a call brought no answer.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The network, or a server that keeps silent.
    Network(NetworkFault),
    /// The server's own error line.
    Server(String),
    /// Something before the network: a secret that is not there, a broken certificate file.
    Setup(Box<Explained>),
}

impl Fault {
    /// Nothing was heard: the connection it happened on is of no more use.
    pub(crate) fn is_network(&self) -> bool {
        matches!(self, Fault::Network(_))
    }

    /// Silence rather than an answer, so that asking again at once would only cost another wait.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, Fault::Network(NetworkFault::Timeout { .. } | NetworkFault::Handshake { .. }))
    }

    /// A connection that was good and is gone: worth one new one.
    pub(crate) fn is_stale(&self) -> bool {
        matches!(self, Fault::Network(NetworkFault::Closed | NetworkFault::Reset))
    }

    /// Says it to people.
    pub(crate) fn explain(
        &self,
        address: Option<&Address>,
        credential: &Credential,
        command: Option<&str>,
    ) -> Explained {
        let cx = ErrorContext { node: address, user: credential.user.as_deref(), command };
        match self {
            Fault::Network(fault) => errors::explain_network(fault, &cx),
            Fault::Server(line) => errors::explain(line, &cx),
            Fault::Setup(explained) => (**explained).clone(),
        }
    }
}

/// The same of a change: what would do for a look, to go without, does not for that.
pub(crate) fn of_a_change(explained: Explained) -> Explained {
    match explained.code.as_str() {
        "NOPERM" => Explained {
            next: "grant it to the user for changes (`deploy/redis-acl.conf` has all it needs), and ask again"
                .to_owned(),
            ..explained
        },
        _ => explained,
    }
}

/// The command was given up after `after`, with the connection made.
pub(crate) fn silence(after: Duration) -> Fault {
    Fault::Network(NetworkFault::Timeout { after, connected: true })
}

/// What the operating system or the TLS library said.
pub(crate) fn of_io(error: &io::Error) -> Fault {
    use io::ErrorKind as Kind;
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return Fault::Network(NetworkFault::Tls(tls_text(tls)));
    }
    Fault::Network(match error.kind() {
        Kind::ConnectionRefused => NetworkFault::Refused,
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => NetworkFault::Reset,
        Kind::UnexpectedEof | Kind::NotConnected => NetworkFault::Closed,
        _ => NetworkFault::Unreachable(plain(error)),
    })
}

/// What the redis crate said.
pub(crate) fn of_redis(error: &redis::RedisError) -> Fault {
    if let Some(io) = error.source().and_then(|source| find_io(source)) {
        return of_io(io);
    }
    match error.source().and_then(|source| source.downcast_ref::<redis::ServerError>()) {
        Some(server) => Fault::Server(error_line(server)),
        None if error.is_connection_dropped() => Fault::Network(NetworkFault::Closed),
        None => match (error.code(), error.detail()) {
            (Some(code), Some(detail)) => Fault::Server(format!("{code} {detail}")),
            (Some(code), None) => Fault::Server(code.to_owned()),
            // What the peer sent is no Redis protocol: a web server, a TLS port spoken to in the clear.
            _ => {
                Fault::Network(NetworkFault::Unreachable(format!("what answers there does not speak Redis ({error})")))
            }
        },
    }
}

fn find_io<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    if let Some(io) = error.downcast_ref::<io::Error>() {
        return Some(io);
    }
    // The crate keeps its io error behind an `Arc<dyn Error>`.
    if let Some(shared) = error.downcast_ref::<std::sync::Arc<dyn std::error::Error + Send + Sync>>() {
        return find_io(&**shared as &(dyn std::error::Error + 'static));
    }
    error.source().and_then(find_io)
}

/// An io error without the `(os error 113)` nobody on call needs.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_lowercase(),
        None => text,
    }
}

fn tls_text(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidMessage(_) => "the server does not speak TLS on this port".to_owned(),
        other => other.to_string(),
    }
}
