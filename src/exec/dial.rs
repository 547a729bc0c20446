//! From an address to a stream of bytes: DNS, TCP or Unix socket, TLS.
//!
//! Each step is a function of its own, so that `connectivity` can time them one by one.

use std::{net::SocketAddr, path::Path, pin::Pin, sync::Arc, time::Duration};

use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::{Instant, timeout_at},
};

use crate::{
    diagnosis::errors::NetworkFault,
    model::{Address, Tls},
};

use super::{
    fault::{Fault, of_io, plain},
    tls,
};

/// Bytes both ways, whatever carries them.
pub(crate) trait Bytes: AsyncRead + AsyncWrite + Send + Sync {}
impl<S: AsyncRead + AsyncWrite + Send + Sync> Bytes for S {}

/// A connected stream.
pub(crate) type Stream = Pin<Box<dyn Bytes>>;

/// All the addresses a name stands for, IPv6 and IPv4, in the resolver's order.
pub(crate) async fn resolve(host: &str, port: u16, until: Instant) -> Result<Vec<SocketAddr>, Fault> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let start = Instant::now();
    match timeout_at(until, tokio::net::lookup_host((host, port))).await {
        Err(_) => Err(Fault::Network(NetworkFault::Dns(format!(
            "no answer from the resolver within {} ms",
            start.elapsed().as_millis()
        )))),
        Ok(Err(error)) => Err(Fault::Network(NetworkFault::Dns(dns_text(&error)))),
        Ok(Ok(found)) => {
            let mut all: Vec<SocketAddr> = Vec::new();
            for address in found {
                if !all.contains(&address) {
                    all.push(address);
                }
            }
            match all.is_empty() {
                true => Err(Fault::Network(NetworkFault::Dns("the name has no address".into()))),
                false => Ok(all),
            }
        }
    }
}

fn dns_text(error: &std::io::Error) -> String {
    let text = plain(error);
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
}

/// One TCP connection to one address.
pub(crate) async fn tcp(address: SocketAddr, until: Instant) -> Result<TcpStream, Fault> {
    let start = Instant::now();
    match timeout_at(until, TcpStream::connect(address)).await {
        Err(_) => Err(Fault::Network(NetworkFault::Timeout { after: start.elapsed(), connected: false })),
        Ok(Err(error)) => Err(of_io(&error)),
        Ok(Ok(stream)) => {
            // Replies are small and waited for: never hold a segment back.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
    }
}

/// The first of several addresses that accepts. The time left is shared out, so
/// that a silent first address (a firewalled IPv6, say) leaves some to the next.
pub(crate) async fn tcp_any(addresses: &[SocketAddr], until: Instant) -> Result<TcpStream, Fault> {
    let start = Instant::now();
    let mut first = None;
    for (index, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        match tcp(*address, Instant::now() + share).await {
            Ok(stream) => return Ok(stream),
            Err(fault) => first = first.or(Some(fault)),
        }
    }
    match first {
        // What people are told is how long they waited in all.
        Some(Fault::Network(NetworkFault::Timeout { connected, .. })) => {
            Err(Fault::Network(NetworkFault::Timeout { after: start.elapsed(), connected }))
        }
        Some(fault) => Err(fault),
        None => Err(Fault::Network(NetworkFault::Dns("the name has no address".into()))),
    }
}

/// A connection to a Unix socket.
pub(crate) async fn unix(path: &Path, until: Instant) -> Result<UnixStream, Fault> {
    let start = Instant::now();
    match timeout_at(until, UnixStream::connect(path)).await {
        Err(_) => Err(Fault::Network(NetworkFault::Timeout { after: start.elapsed(), connected: false })),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Fault::Network(NetworkFault::Unreachable("there is no such socket".into())))
        }
        Ok(Err(error)) => Err(of_io(&error)),
        Ok(Ok(stream)) => Ok(stream),
    }
}

/// TLS over a stream. `host` is the name to verify unless the profile gives another.
pub(crate) async fn secure(
    stream: TcpStream,
    host: &str,
    settings: &Tls,
    config: Arc<ClientConfig>,
    until: Instant,
) -> Result<Stream, Fault> {
    let name = tls::server_name(settings, host)?;
    let start = Instant::now();
    match timeout_at(until, tokio_rustls::TlsConnector::from(config).connect(name, stream)).await {
        Err(_) => Err(Fault::Network(NetworkFault::Handshake { after: start.elapsed() })),
        Ok(Err(error)) => Err(match of_io(&error) {
            // A server that hangs up inside the handshake usually speaks no TLS there.
            Fault::Network(NetworkFault::Closed | NetworkFault::Reset) => Fault::Network(NetworkFault::Tls(
                "the server hung up during the handshake: perhaps it does not speak TLS on this port".into(),
            )),
            fault => fault,
        }),
        Ok(Ok(stream)) => Ok(Box::pin(stream)),
    }
}

/// The whole way to an address.
pub(crate) async fn dial(address: &Address, settings: Option<&Tls>, until: Instant) -> Result<Stream, Fault> {
    match address {
        Address::Unix(path) => Ok(Box::pin(unix(path, until).await?)),
        Address::Tcp { host, port } => {
            // Read before connecting: a missing file should not look like a network fault.
            let config = settings.map(tls::client_config).transpose()?;
            let found = resolve(host, *port, until).await?;
            let stream = tcp_any(&found, until).await?;
            match (settings, config) {
                (Some(settings), Some(config)) => secure(stream, host, settings, config, until).await,
                _ => Ok(Box::pin(stream)),
            }
        }
    }
}

/// How long something took, as people read it.
pub(crate) fn ms(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}
