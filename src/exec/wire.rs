//! One connection to one server, made ready: authenticated, database chosen, named.

use redis::{Cmd, Value as Reply, aio::MultiplexedConnection};
use secrecy::ExposeSecret;
use tokio::{
    task::AbortHandle,
    time::{Instant, timeout_at},
};

use crate::{
    diagnosis::errors::NetworkFault,
    model::{Address, Credential, Tls},
};

use super::{
    dial::{Stream, dial},
    fault::{Fault, of_redis, silence},
    secret, value,
};

/// What a server said of itself when we connected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// `redis_version` (or Valkey's own).
    pub version: Option<String>,
    /// `run_id`: changes with every start.
    pub run_id: Option<String>,
    /// Which program it is.
    pub flavour: Flavour,
}

/// Which program answers the Redis protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flavour {
    /// Redis, or something that says it is.
    #[default]
    Redis,
    /// Valkey.
    Valkey,
    /// KeyDB.
    KeyDb,
    /// Dragonfly.
    Dragonfly,
}

impl std::fmt::Display for Flavour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Flavour::Redis => "Redis",
            Flavour::Valkey => "Valkey",
            Flavour::KeyDb => "KeyDB",
            Flavour::Dragonfly => "Dragonfly",
        })
    }
}

/// How a connection is to be set up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup<'a> {
    pub address: &'a Address,
    pub tls: Option<&'a Tls>,
    pub credential: &'a Credential,
    pub database: u32,
    /// The connection's name in CLIENT LIST.
    pub name: &'static str,
    /// Cluster replicas answer only after READONLY.
    pub cluster: bool,
    /// CLIENT was denied before: do not fill the server's ACL log with more tries.
    pub client_denied: bool,
    /// A Sentinel, which knows no databases and few commands.
    pub sentinel: bool,
}

/// A connection that is ready for commands. Dropped, it is closed at once,
/// whatever is still in flight.
#[derive(Debug)]
pub(crate) struct Wire {
    connection: MultiplexedConnection,
    driver: AbortHandle,
    /// What the server said of itself.
    pub identity: Identity,
    /// CLIENT SETNAME was refused for lack of permission.
    pub client_denied: bool,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Wire {
    /// Connects and sets up, all of it before `until`.
    pub(crate) async fn open(setup: Setup<'_>, until: Instant) -> Result<Self, Fault> {
        let stream = dial(setup.address, setup.tls, until).await?;
        match Self::over(stream, setup, until).await {
            // With TLS 1.3 a server judges our certificate after the handshake is done for us.
            Err(fault) if fault.is_stale() && setup.tls.is_some() => Err(hung_up()),
            opened => opened,
        }
    }

    /// Sets up a connection over a stream that is already there.
    pub(crate) async fn over(stream: Stream, setup: Setup<'_>, until: Instant) -> Result<Self, Fault> {
        let mut wire = Self::bare(stream, &setup).await?;
        wire.authenticate(&setup, until).await?;
        wire.prepare(&setup, until).await?;
        Ok(wire)
    }

    /// A connection over which nothing was sent yet.
    pub(crate) async fn bare(stream: Stream, setup: &Setup<'_>) -> Result<Self, Fault> {
        // RESP2 gives the same shapes from every version and flavour; the crate is
        // asked to send nothing of its own, so that each refusal is seen by itself.
        let info = redis::RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let (connection, driver) =
            MultiplexedConnection::new_with_config(&info, stream, config).await.map_err(|error| of_redis(&error))?;
        let driver = tokio::spawn(driver).abort_handle();
        Ok(Self { connection, driver, identity: Identity::default(), client_denied: setup.client_denied })
    }

    /// AUTH, when the profile names a password.
    pub(crate) async fn authenticate(&self, setup: &Setup<'_>, until: Instant) -> Result<(), Fault> {
        match auth(setup.credential)? {
            Some(auth) => self.call(&auth, until).await.map(drop),
            None => Ok(()),
        }
    }

    async fn prepare(&mut self, setup: &Setup<'_>, until: Instant) -> Result<(), Fault> {
        let mut steps = Vec::new();
        if setup.database != 0 && !setup.sentinel {
            steps.push(Step::Database);
        }
        if !self.client_denied && !setup.sentinel {
            steps.push(Step::Name);
        }
        if setup.cluster {
            steps.push(Step::ReadOnly);
        }
        steps.push(Step::Info);
        let commands: Vec<Cmd> = steps.iter().map(|step| step.command(setup)).collect();
        let replies = self.pipeline(&commands, until).await?;
        for (step, reply) in steps.iter().zip(replies) {
            match (step, reply) {
                // A wrong database would answer for another's keys.
                (Step::Database, Reply::ServerError(error)) => return Err(Fault::Server(value::error_line(&error))),
                (Step::Name, Reply::ServerError(error)) => self.client_denied = error.code() == "NOPERM",
                (Step::Info, Reply::ServerError(error)) if error.code() == "NOAUTH" => {
                    return Err(Fault::Server(value::error_line(&error)));
                }
                (Step::Info, Reply::ServerError(_)) => {}
                (Step::Info, reply) => {
                    if let serde_json::Value::String(text) = value::to_json(reply) {
                        self.identity = identify(&text);
                    }
                }
                _ => {}
            }
        }
        // Never in a cluster: there Redis 8.0.6 crashed on it, as soon as a key of a slot on the move was asked for.
        if !self.client_denied && !setup.sentinel && !setup.cluster && knows_no_touch(&self.identity) {
            // So that looking at a key does not make it look used. Whatever it answers, we go on.
            let mut untouched = redis::cmd("CLIENT");
            untouched.arg("NO-TOUCH").arg("ON");
            match self.call(&untouched, until).await {
                Err(fault) if fault.is_network() => return Err(fault),
                _ => {}
            }
        }
        Ok(())
    }

    /// Sends one command and waits for its reply; an error reply is an `Err`.
    pub(crate) async fn call(&self, command: &Cmd, until: Instant) -> Result<Reply, Fault> {
        let start = Instant::now();
        // Cloning is an `Arc` or two; the crate wants `&mut`.
        let mut connection = self.connection.clone();
        match timeout_at(until, connection.send_packed_command(command)).await {
            Err(_) => Err(silence(start.elapsed())),
            Ok(Err(error)) => Err(of_redis(&error)),
            Ok(Ok(Reply::ServerError(error))) => Err(Fault::Server(value::error_line(&error))),
            Ok(Ok(reply)) => Ok(reply),
        }
    }

    /// Sends several commands at once; error replies stand among the replies.
    pub(crate) async fn pipeline(&self, commands: &[Cmd], until: Instant) -> Result<Vec<Reply>, Fault> {
        let start = Instant::now();
        let mut pipeline = redis::Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command.clone());
        }
        let mut connection = self.connection.clone();
        match timeout_at(until, connection.send_packed_commands(&pipeline, 0, commands.len())).await {
            Err(_) => Err(silence(start.elapsed())),
            Ok(Err(error)) => Err(of_redis(&error)),
            Ok(Ok(replies)) if replies.len() == commands.len() => Ok(replies),
            Ok(Ok(_)) => Err(Fault::Network(NetworkFault::Closed)),
        }
    }
}

/// TLS was agreed on, and the server went away before it answered anything.
pub(crate) fn hung_up() -> Fault {
    Fault::Network(NetworkFault::Tls(
        "the server hung up right after the handshake: it wants a client certificate, or another one".into(),
    ))
}

/// The AUTH command of a credential, its secret read now.
pub(crate) fn auth(credential: &Credential) -> Result<Option<Cmd>, Fault> {
    let Some(from) = &credential.password else { return Ok(None) };
    let password = secret::read(from).map_err(Fault::Setup)?;
    let mut auth = redis::cmd("AUTH");
    if let Some(user) = &credential.user {
        auth.arg(user);
    }
    auth.arg(password.expose_secret());
    Ok(Some(auth))
}

enum Step {
    Database,
    Name,
    ReadOnly,
    Info,
}

impl Step {
    fn command(&self, setup: &Setup<'_>) -> Cmd {
        match self {
            Step::Database => redis::cmd("SELECT").arg(setup.database).to_owned(),
            Step::Name => redis::cmd("CLIENT").arg("SETNAME").arg(setup.name).to_owned(),
            Step::ReadOnly => redis::cmd("READONLY"),
            Step::Info => redis::cmd("INFO").arg("server").to_owned(),
        }
    }
}

/// Reads `INFO server`.
pub(crate) fn identify(info: &str) -> Identity {
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    };
    let executable = field("executable").unwrap_or_default();
    let (flavour, own) = if field("dragonfly_version").is_some() {
        (Flavour::Dragonfly, field("dragonfly_version"))
    } else if field("server_name").as_deref() == Some("valkey") || field("valkey_version").is_some() {
        (Flavour::Valkey, field("valkey_version"))
    } else if executable.ends_with("keydb-server") || field("mvcc_depth").is_some() {
        (Flavour::KeyDb, None)
    } else {
        (Flavour::Redis, None)
    };
    Identity { version: own.or_else(|| field("redis_version")), run_id: field("run_id"), flavour }
}

/// CLIENT NO-TOUCH came with Redis 7.2; every Valkey has it, the others do not.
fn knows_no_touch(identity: &Identity) -> bool {
    let Some(version) = &identity.version else { return false };
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let number = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    matches!(identity.flavour, Flavour::Redis | Flavour::Valkey) && number >= (7, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flavours_are_told_apart_by_what_they_say() {
        let redis = identify("# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\nexecutable:/usr/bin/redis-server\r\n");
        assert_eq!(
            (redis.flavour, redis.version.as_deref(), redis.run_id.as_deref()),
            (Flavour::Redis, Some("7.0.15"), Some("abc"))
        );
        let valkey = identify("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.0\r\n");
        assert_eq!((valkey.flavour, valkey.version.as_deref()), (Flavour::Valkey, Some("8.1.0")));
        assert!(knows_no_touch(&valkey));
        assert!(!knows_no_touch(&redis));
    }
}
