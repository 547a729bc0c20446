//! Real Redis servers, started on free ports and killed when dropped.
//!
//! The program is `redis-server`, or what `REDISCUE_REDIS_SERVER` names.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rediscue::model::{Address, Credential, Deployment, Instance, SecretRef, Tls};
use tempfile::TempDir;

use super::{eventually, pause};

const PATIENCE: Duration = Duration::from_secs(20);

fn program() -> String {
    std::env::var("REDISCUE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".into())
}

/// A port nobody listens on, whose cluster bus port is free too.
pub(crate) fn free_port() -> u16 {
    loop {
        // Different processes start at different places, so that tests side by side rarely meet.
        let port = 20_000 + (rand::random::<u16>() % 30_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

/// A TCP address on this machine.
pub(crate) fn local(port: u16) -> Address {
    Address::Tcp { host: "127.0.0.1".into(), port }
}

/// What a server is started with.
#[derive(Debug, Clone, Default)]
pub(crate) struct RedisBuilder {
    options: Vec<(String, String)>,
    tls: bool,
    password: Option<String>,
}

impl RedisBuilder {
    /// An option of redis.conf.
    pub(crate) fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.into(), value.into()));
        self
    }

    /// `requirepass`.
    pub(crate) fn password(mut self, password: &str) -> Self {
        self.password = Some(password.into());
        self
    }

    /// An ACL user: `user NAME on >secret ~* +@all`.
    pub(crate) fn user(self, rule: &str) -> Self {
        self.option("user", rule)
    }

    /// A TLS port beside the plain one, with a CA of its own that also signs clients.
    pub(crate) fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Starts it and waits until it answers.
    pub(crate) fn start(self) -> RedisServer {
        let dir = tempfile::Builder::new().prefix("rq").tempdir().unwrap();
        let certificates = self.tls.then(|| Certificates::write(dir.path()));
        for _ in 0..5 {
            let port = free_port();
            let tls_port = self.tls.then(free_port);
            self.write(dir.path(), port, tls_port, certificates.as_ref());
            let mut server = RedisServer {
                child: None,
                port,
                tls_port,
                certificates: certificates.clone(),
                password: self.password.clone(),
                path: dir.path().to_owned(),
                dir: None,
                sentinel: self.options.iter().any(|(name, _)| name.starts_with("sentinel ")),
            };
            server.spawn();
            if server.is_up() {
                server.dir = Some(dir);
                return server;
            }
        }
        panic!("{} did not start; its log:\n{}", program(), log_of(dir.path()));
    }

    fn write(&self, dir: &Path, port: u16, tls_port: Option<u16>, certificates: Option<&Certificates>) {
        let mut lines = vec![
            "bind 127.0.0.1".to_owned(),
            format!("port {port}"),
            format!("dir {}", dir.display()),
            format!("unixsocket {}", dir.join("s").display()),
            format!("logfile {}", dir.join("log").display()),
        ];
        if !self.options.iter().any(|(name, _)| name.starts_with("sentinel ")) {
            lines.push("save \"\"".into());
            lines.push("repl-diskless-sync-delay 0".into());
            // 6.2 does not know this one, and has DEBUG anyway.
            if !is_before_7() {
                lines.push("enable-debug-command yes".into());
            }
            if !self.options.iter().any(|(name, _)| name == "latency-monitor-threshold") {
                lines.push("latency-monitor-threshold 1".into());
            }
        }
        if let (Some(tls_port), Some(certificates)) = (tls_port, certificates) {
            lines.push(format!("tls-port {tls_port}"));
            lines.push(format!("tls-cert-file {}", certificates.cert.display()));
            lines.push(format!("tls-key-file {}", certificates.key.display()));
            lines.push(format!("tls-ca-cert-file {}", certificates.ca.display()));
            if !self.options.iter().any(|(name, _)| name == "tls-auth-clients") {
                lines.push("tls-auth-clients no".into());
            }
        }
        if let Some(password) = &self.password {
            lines.push(format!("requirepass {password}"));
            lines.push(format!("masterauth {password}"));
        }
        for (name, value) in &self.options {
            lines.push(format!("{name} {value}"));
        }
        fs::write(dir.join("redis.conf"), lines.join("\n") + "\n").unwrap();
    }
}

/// Whether the program under test is older than 7.0.
pub(crate) fn is_before_7() -> bool {
    let told = Command::new(program()).arg("--version").output().map(|out| out.stdout).unwrap_or_default();
    let told = String::from_utf8_lossy(&told);
    told.split("v=").nth(1).and_then(|rest| rest.split('.').next()?.parse::<u32>().ok()).is_some_and(|major| major < 7)
}

fn log_of(dir: &Path) -> String {
    fs::read_to_string(dir.join("log")).unwrap_or_default()
}

/// A CA, and a certificate it signed for `localhost` and `127.0.0.1`, for server and client alike.
#[derive(Debug, Clone)]
pub(crate) struct Certificates {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificates {
    /// Makes them and writes them as PEM files.
    pub(crate) fn write(dir: &Path) -> Self {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        // Named apart from what it signs, or OpenSSL takes that for self-signed.
        ca.distinguished_name.push(rcgen::DnType::CommonName, "the test authority");
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["localhost", "127.0.0.1", "redis.test"].map(str::to_owned).to_vec();
        let cert = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap().pem();
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            fs::write(&path, text).unwrap();
            path
        };
        Self { ca: write("ca.pem", ca_pem), cert: write("cert.pem", cert), key: write("key.pem", key.serialize_pem()) }
    }
}

/// A running server. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct RedisServer {
    child: Option<Child>,
    port: u16,
    tls_port: Option<u16>,
    certificates: Option<Certificates>,
    password: Option<String>,
    path: PathBuf,
    dir: Option<TempDir>,
    sentinel: bool,
}

impl RedisServer {
    /// What to start.
    pub(crate) fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    /// A plain standalone server.
    pub(crate) fn start() -> Self {
        Self::builder().start()
    }

    fn spawn(&mut self) {
        let mut command = Command::new(program());
        command.arg(self.path.join("redis.conf"));
        if self.sentinel {
            command.arg("--sentinel");
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{} cannot be started: {error}", program())));
    }

    /// Waits until it answers; false when it ended instead (its port was taken).
    fn is_up(&mut self) -> bool {
        let start = Instant::now();
        loop {
            if self.child.as_mut().is_none_or(|child| child.try_wait().ok().flatten().is_some()) {
                return false;
            }
            if self.connect().is_some_and(
                |mut c| !matches!(redis::cmd("PING").query::<String>(&mut c), Err(error) if error.is_io_error()),
            ) {
                return true;
            }
            assert!(start.elapsed() < PATIENCE, "{} does not answer; its log:\n{}", program(), log_of(&self.path));
            pause(Duration::from_millis(5));
        }
    }

    fn connect(&self) -> Option<redis::Connection> {
        let client = redis::Client::open(format!("unix://{}", self.socket().display())).ok()?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(5)).ok()?;
        if let Some(password) = &self.password {
            redis::cmd("AUTH").arg(password).exec(&mut connection).ok()?;
        }
        Some(connection)
    }

    /// A connection for preparing and checking, beside the one under test.
    pub(crate) fn admin(&self) -> redis::Connection {
        self.connect().expect("the server answers on its Unix socket")
    }

    /// Runs one command as admin.
    pub(crate) fn run<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command.query(&mut self.admin()).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// INFO's field of that name.
    pub(crate) fn info(&self, field: &str) -> String {
        let info: String = self.run(&["INFO", "everything"]);
        info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap_or_default().trim().to_owned()
    }

    /// Its own version: Valkey says Redis's, too, for those who ask for that.
    pub(crate) fn version(&self) -> String {
        let valkey = self.info("valkey_version");
        if valkey.is_empty() { self.info("redis_version") } else { valkey }
    }

    /// What it is called on a card: `Redis 7.0.15`.
    pub(crate) fn program(&self) -> String {
        let name = if self.info("valkey_version").is_empty() { "Redis" } else { "Valkey" };
        format!("{name} {}", self.version())
    }

    /// Whether it can be looked at without keys seeming used: since 7.2.
    pub(crate) fn knows_no_touch(&self) -> bool {
        redis::cmd("CLIENT").arg("NO-TOUCH").arg("OFF").exec(&mut self.admin()).is_ok()
    }

    /// Keys `prefix:0` … with values of `bytes` each; the colon at the end of a prefix may be there.
    pub(crate) fn fill(&self, prefix: &str, keys: usize, bytes: usize) {
        let prefix = prefix.trim_end_matches(':');
        let mut admin = self.admin();
        let value = "x".repeat(bytes);
        for from in (0..keys).step_by(1000) {
            let mut pipe = redis::pipe();
            for i in from..keys.min(from + 1000) {
                pipe.set(format!("{prefix}:{i}"), &value).ignore();
            }
            pipe.exec(&mut admin).unwrap();
        }
    }

    /// How often it was asked a command: `scan`.
    pub(crate) fn calls(&self, command: &str) -> u64 {
        self.figure("commandstats", &format!("cmdstat_{command}"), "calls")
    }

    /// A figure of a line of `INFO`'s section, such as `cmdstat_scan:calls=3,usec=9`; 0 where there is no such line.
    pub(crate) fn figure(&self, section: &str, name: &str, field: &str) -> u64 {
        let info: String = self.run(&["INFO", section]);
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let found = line.and_then(|line| line.split(',').find_map(|part| part.strip_prefix(field)?.strip_prefix('=')));
        found.map_or(0, |number| number.parse().unwrap())
    }

    /// Takes one command from a user: `client|kill`.
    pub(crate) fn forbid(&self, user: &str, command: &str) {
        let rules: Vec<String> = match command.split_once('|') {
            // Before 7.0 a subcommand is not taken away: the command is, and the others are given.
            Some((whole, sub)) if is_before_7() => {
                let subs: &[&str] = match whole {
                    "client" => &["list", "id", "info", "setname", "getname", "kill", "pause", "unpause", "reply"],
                    "acl" => &["list", "getuser", "setuser", "whoami", "users", "save", "load", "log", "cat"],
                    "cluster" => &["info", "nodes", "slots", "myid", "replicas", "keyslot", "failover"],
                    _ => panic!("whose subcommands are not listed here: {whole}"),
                };
                let others = subs.iter().filter(|other| **other != sub).map(|other| format!("+{whole}|{other}"));
                std::iter::once(format!("-{whole}")).chain(others).collect()
            }
            _ => vec![format!("-{command}")],
        };
        let mut words = vec!["ACL", "SETUSER", user];
        words.extend(rules.iter().map(String::as_str));
        self.run::<()>(&words);
    }

    /// Where it listens in the clear.
    pub(crate) fn address(&self) -> Address {
        local(self.port)
    }

    /// Its plain port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens with TLS.
    pub(crate) fn tls_address(&self) -> Address {
        local(self.tls_port.expect("the server was built with TLS"))
    }

    /// Its certificate files.
    pub(crate) fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("the server was built with TLS")
    }

    /// Its Unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join("s")
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.path
    }

    /// A standalone instance `main` at this server, as the default user without a password.
    pub(crate) fn instance(&self) -> Instance {
        instance(Deployment::Standalone(self.address()))
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().expect("it is running").id();
        kill(Pid::from_raw(i32::try_from(id).unwrap()), signal).unwrap();
    }

    /// SIGSTOP: TCP is still accepted by the kernel, nothing is answered.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port with the same data folder.
    pub(crate) fn restart(&mut self) {
        self.kill();
        // A socket left behind by a killed server is in the way of nobody but us.
        let _ = fs::remove_file(self.socket());
        self.spawn();
        assert!(self.is_up(), "it did not come back; its log:\n{}", log_of(&self.path));
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An instance `main` of a deployment: database 0, no TLS, nobody in particular.
pub(crate) fn instance(deployment: Deployment) -> Instance {
    Instance {
        name: "main".parse().unwrap(),
        deployment,
        database: 0,
        tls: None,
        look: Credential::default(),
        touch: None,
        scan_replica: false,
    }
}

/// A user whose password stands in a file of the server's folder.
pub(crate) fn credential(dir: &Path, user: Option<&str>, password: &str) -> Credential {
    let path = dir.join(format!("secret-{}", user.unwrap_or("default")));
    fs::write(&path, format!("{password}\n")).unwrap();
    Credential { user: user.map(str::to_owned), password: Some(SecretRef::File(path)) }
}

/// TLS with the server's own CA.
pub(crate) fn tls_of(server: &RedisServer) -> Tls {
    Tls { ca: Some(server.certificates().ca.clone()), ..Tls::default() }
}

/// A master, a replica and three Sentinels that watch them.
#[derive(Debug)]
pub(crate) struct SentinelWorld {
    /// The servers; the first one began as master.
    pub(crate) servers: Vec<RedisServer>,
    /// The Sentinels.
    pub(crate) sentinels: Vec<RedisServer>,
}

impl SentinelWorld {
    /// What the Sentinels call the master.
    pub(crate) const MASTER: &'static str = "themaster";

    /// Starts them and waits until everybody knows everybody.
    pub(crate) fn start() -> Self {
        let master = RedisServer::builder().start();
        let port = master.port().to_string();
        let replica = RedisServer::builder().option("replicaof", &format!("127.0.0.1 {port}")).start();
        eventually("the replica is in step", PATIENCE, || replica.info("master_link_status") == "up");
        let name = Self::MASTER;
        let sentinels: Vec<RedisServer> = (0..3)
            .map(|_| {
                RedisServer::builder()
                    .option("sentinel monitor", &format!("{name} 127.0.0.1 {port} 2"))
                    .option("sentinel down-after-milliseconds", &format!("{name} 600"))
                    .option("sentinel failover-timeout", &format!("{name} 3000"))
                    .start()
            })
            .collect();
        let world = Self { servers: vec![master, replica], sentinels };
        eventually("the Sentinels know each other and the replica", PATIENCE, || {
            world.sentinels.iter().all(|sentinel| {
                let told: Vec<String> = sentinel.run(&["SENTINEL", "MASTER", name]);
                let field = |name: &str| told.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone());
                field("num-other-sentinels").as_deref() == Some("2") && field("num-slaves").as_deref() == Some("1")
            })
        });
        world
    }

    /// An instance that finds its master through these Sentinels.
    pub(crate) fn instance(&self) -> Instance {
        instance(Deployment::Sentinel {
            sentinels: self.sentinels.iter().map(RedisServer::address).collect(),
            master: Self::MASTER.into(),
            credential: Credential::default(),
        })
    }
}

/// A cluster whose primaries share the slots evenly.
#[derive(Debug)]
pub(crate) struct ClusterWorld {
    /// Primaries first, then their replicas in the same order.
    pub(crate) nodes: Vec<RedisServer>,
    primaries: usize,
}

impl ClusterWorld {
    /// Three primaries, each with a replica when asked for.
    pub(crate) fn start(replicas: bool) -> Self {
        let primaries = 3;
        let nodes: Vec<RedisServer> = (0..if replicas { 2 * primaries } else { primaries })
            .map(|_| {
                RedisServer::builder()
                    .option("cluster-enabled", "yes")
                    .option("cluster-config-file", "nodes.conf")
                    .option("cluster-node-timeout", "1500")
                    .option("cluster-require-full-coverage", "no")
                    .start()
            })
            .collect();
        for (index, node) in nodes.iter().enumerate() {
            node.run::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
        }
        for (index, node) in nodes.iter().take(primaries).enumerate() {
            let slots = (16_384 * index / primaries..16_384 * (index + 1) / primaries).map(|slot| slot.to_string());
            let words: Vec<String> = ["CLUSTER".to_owned(), "ADDSLOTS".to_owned()].into_iter().chain(slots).collect();
            node.run::<()>(&words.iter().map(String::as_str).collect::<Vec<_>>());
        }
        for node in &nodes[1..] {
            nodes[0].run::<()>(&["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string()]);
        }
        let all = nodes.len();
        eventually("every node knows every other", PATIENCE, || {
            nodes.iter().all(|node| {
                let known: String = node.run(&["CLUSTER", "NODES"]);
                known.lines().filter(|line| !line.contains("handshake")).count() == all
            })
        });
        for (index, node) in nodes.iter().enumerate().skip(primaries) {
            let primary: String = nodes[index - primaries].run(&["CLUSTER", "MYID"]);
            node.run::<()>(&["CLUSTER", "REPLICATE", &primary]);
        }
        let world = Self { nodes, primaries };
        eventually("the cluster is whole, and known to be so everywhere", PATIENCE, || {
            world.nodes.iter().all(|node| {
                let state: String = node.run(&["CLUSTER", "INFO"]);
                let known: String = node.run(&["CLUSTER", "NODES"]);
                state.contains("cluster_state:ok")
                    && state.contains("cluster_slots_ok:16384")
                    && known.matches("slave").count() == world.nodes.len() - world.primaries
            })
        });
        for replica in &world.nodes[primaries..] {
            eventually("the replica is in step", PATIENCE, || replica.info("master_link_status") == "up");
        }
        world
    }

    /// The primaries.
    pub(crate) fn primaries(&self) -> &[RedisServer] {
        &self.nodes[..self.primaries]
    }

    /// An instance that knows the first two nodes as seeds.
    pub(crate) fn instance(&self) -> Instance {
        instance(Deployment::Cluster { seeds: self.nodes.iter().take(2).map(RedisServer::address).collect() })
    }
}
