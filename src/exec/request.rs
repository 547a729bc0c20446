//! HTTP as looks make it: to a host fixed in the profile, guarded, bounded.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::StreamExt;
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use tokio::time::{Instant, timeout_at};

use crate::diagnosis::Explained;

use super::{dial::ms, guard};

/// Resolves names itself, so that the address that was checked is the one connected to.
struct Resolver {
    allow_private: bool,
}

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            guard::check_all(&host, &found, allow_private)?;
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

/// The two clients, made when the first endpoint is looked at: one that may reach private addresses, one that may not.
fn client(allow_private: bool) -> &'static Client {
    static CLIENTS: [OnceLock<Client>; 2] = [OnceLock::new(), OnceLock::new()];
    CLIENTS[usize::from(allow_private)].get_or_init(|| {
        Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            // A proxy would do the resolving for us, unchecked.
            .no_proxy()
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(2)
            .dns_resolver(Arc::new(Resolver { allow_private }))
            .user_agent(concat!("rediscue/", env!("CARGO_PKG_VERSION")))
            .build()
            .expect("no option given to the client can be wrong")
    })
}

/// Starts a request. The URL is refused when its host may not be reached, before anything is sent.
pub(crate) fn begin(method: Method, url: &str, allow_private: bool) -> Result<RequestBuilder, Explained> {
    let url = Url::parse(url).map_err(|_| Explained {
        code: "ADDRESS".into(),
        what: "the profile's URL cannot be read".into(),
        cause: "it is not `http://host:port/path` or `https://…`".into(),
        next: "correct it in the service's profile; `rediscue check` tells the line".into(),
    })?;
    let host = url.host_str().unwrap_or_default();
    guard::check_name(host)?;
    // A resolver is never asked about an address written as such.
    if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        guard::check(host, ip, allow_private)?;
    }
    Ok(client(allow_private).request(method, url))
}

/// Sends it and waits for the status and headers.
pub(crate) async fn send(request: RequestBuilder, until: Instant) -> Result<Response, Explained> {
    let start = Instant::now();
    match timeout_at(until, request.send()).await {
        Err(_) => Err(too_slow(start)),
        Ok(Err(error)) => Err(explain(&error, start)),
        Ok(Ok(response)) => Ok(response),
    }
}

/// Reads a body up to `most` bytes. True: there was more.
pub(crate) async fn body(response: Response, most: usize, until: Instant) -> Result<(Vec<u8>, bool), Explained> {
    let start = Instant::now();
    let mut body = Vec::new();
    let mut stream = response.bytes_stream();
    loop {
        match timeout_at(until, stream.next()).await {
            Err(_) => return Err(too_slow(start)),
            Ok(None) => return Ok((body, false)),
            Ok(Some(Err(error))) => return Err(explain(&error, start)),
            Ok(Some(Ok(chunk))) => {
                let room = most - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    return Ok((body, true));
                }
            }
        }
    }
}

fn too_slow(start: Instant) -> Explained {
    Explained {
        code: "TIMEOUT".into(),
        what: format!("the endpoint did not answer within {:.0} ms", ms(start.elapsed())),
        cause: "the application is overloaded, blocked or waiting for something itself".into(),
        next: "look at the application's own logs and at what it depends on".into(),
    }
}

/// What went wrong, by the innermost cause that says something. A URL may hold an
/// argument, so it is never part of the text.
fn explain(error: &reqwest::Error, start: Instant) -> Explained {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(refusal) = inner.downcast_ref::<Explained>() {
            return refusal.clone();
        }
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            if let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                return said(
                    "TLS",
                    format!("TLS to the endpoint failed: {tls}"),
                    "a certificate that is expired, untrusted or for another name, or a port without TLS",
                    "look at the certificate the endpoint shows",
                );
            }
            match io.kind() {
                std::io::ErrorKind::ConnectionRefused => {
                    return said(
                        "REFUSED",
                        "the endpoint refuses connections".into(),
                        "nothing listens there: the application is down or on another port",
                        "start the application, or correct the profile's URL",
                    );
                }
                std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => {
                    return said(
                        "RESET",
                        "the endpoint cut the connection".into(),
                        "the application crashed or a proxy in between gave up",
                        "look at the application's and the proxy's logs",
                    );
                }
                _ => {}
            }
            let text = super::fault::plain(io);
            if text.contains("lookup address") || text.contains("name or service") {
                return said(
                    "DNS",
                    "the endpoint's name has no address".into(),
                    "the name is wrong, or the resolver the bot uses does not know it",
                    "resolve the name on the bot's host",
                );
            }
        }
        cause = inner.source();
    }
    if error.is_timeout() {
        return too_slow(start);
    }
    if error.is_connect() && error.url().is_some_and(|url| url.scheme() == "https") {
        return said(
            "TLS",
            "TLS to the endpoint failed: the connection ended during the handshake".into(),
            "the port does not speak TLS, or a proxy in between does not let it through",
            "compare the profile's `https://` and port with what the application listens on",
        );
    }
    said(
        "HTTP",
        "the endpoint's answer could not be read".into(),
        "the connection ended in the middle, or what answers there is not HTTP",
        "ask the endpoint by hand from the bot's host",
    )
}

fn said(code: &str, what: String, cause: &str, next: &str) -> Explained {
    Explained { code: code.into(), what, cause: cause.into(), next: next.into() }
}
