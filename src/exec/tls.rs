//! TLS as a profile describes it.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};

use crate::{diagnosis::Explained, diagnosis::errors::NetworkFault, model::Tls};

use super::fault::Fault;

/// The machine's own authorities, read once: it is thousands of certificates' worth of parsing.
fn machine_roots() -> RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS
        .get_or_init(|| {
            let mut roots = RootCertStore::empty();
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            roots
        })
        .clone()
}

fn broken(path: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::Setup(Box::new(Explained {
        code: "TLS".into(),
        what: format!("the certificate file {} cannot be used: {why}", path.display()),
        cause: "the profile's `tls` table names a file that is missing, unreadable or not PEM".into(),
        next: "correct the path or the file; `rediscue check` reads them too".into(),
    }))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let pem = fs::read(path).map_err(|error| broken(path, super::fault::plain(&error)))?;
    let found: Vec<_> =
        rustls_pemfile::certs(&mut &pem[..]).collect::<io::Result<_>>().map_err(|error| broken(path, error))?;
    if found.is_empty() { Err(broken(path, "it holds no certificate")) } else { Ok(found) }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Fault> {
    let pem = fs::read(path).map_err(|error| broken(path, super::fault::plain(&error)))?;
    rustls_pemfile::private_key(&mut &pem[..])
        .map_err(|error| broken(path, error))?
        .ok_or_else(|| broken(path, "it holds no private key"))
}

/// What the TLS library needs, with the profile's files read now, so that renewed certificates are picked up.
pub(crate) fn client_config(tls: &Tls) -> Result<Arc<ClientConfig>, Fault> {
    let roots = match &tls.ca {
        None => machine_roots(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| broken(path, error))?;
            }
            roots
        }
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .with_root_certificates(roots);
    let config = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key_path)) => builder
            .with_client_auth_cert(certificates(cert)?, key(key_path)?)
            .map_err(|error| broken(key_path, error))?,
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// The name the server's certificate must bear.
pub(crate) fn server_name(tls: &Tls, host: &str) -> Result<ServerName<'static>, Fault> {
    let name = tls.server_name.as_deref().unwrap_or(host);
    ServerName::try_from(name.to_owned())
        .map_err(|_| Fault::Network(NetworkFault::Tls(format!("`{name}` is not a name a certificate can bear"))))
}
