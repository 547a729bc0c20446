//! The throw-away Redis server.

use std::{
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use super::{TrialError, ground::Ground, resp::Conversation};

const NAMES: [&str; 2] = ["redis-server", "valkey-server"];

/// Where server programs are when PATH does not say: Debian's sbin, Homebrew.
const ASIDE: [&str; 4] = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/opt/homebrew/bin"];

/// A port may be taken between choosing it and listening on it.
const PORTS_TRIED: usize = 5;

const READY_WITHIN: Duration = Duration::from_secs(10);

/// A running server. It is killed when this is dropped; when the program is
/// killed before that, the next trial's sweep finds the server and kills it.
pub(super) struct Server {
    port: u16,
    password: String,
    pid: u32,
    process: Child,
}

/// The program that was named, or the first that is found.
pub(super) fn find(named: Option<&Path>) -> Result<PathBuf, TrialError> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).chain(ASIDE.map(PathBuf::from)).collect();
    NAMES
        .iter()
        .flat_map(|name| dirs.iter().map(move |dir| dir.join(name)))
        .find(|program| program.is_file())
        .ok_or(TrialError::NoServer)
}

impl Server {
    pub(super) async fn start(program: &Path, ground: &Ground) -> Result<Self, TrialError> {
        let not_started = |why: String| TrialError::NotStarted { program: program.to_owned(), why };
        // Loopback is open to everybody on this machine; a password keeps it ours.
        let password = format!("{:016x}{:016x}", rand::random::<u64>(), rand::random::<u64>());
        ground.write("redis.password", &password)?;
        let mut said = String::new();
        for _ in 0..PORTS_TRIED {
            let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
            ground.write("redis.conf", &configuration(port, &password, ground.path()))?;
            let mut server = Self::spawn(program, ground.path(), port, password.clone())
                .map_err(|error| not_started(error.to_string()))?;
            ground.remember(server.pid)?;
            match server.wait_until_ready(ground.path()).await {
                Ok(()) => return Ok(server),
                Err(why) => said = why,
            }
            server.end().await;
            if !said.contains("in use") {
                break;
            }
        }
        Err(not_started(said))
    }

    fn spawn(program: &Path, dir: &Path, port: u16, password: String) -> io::Result<Self> {
        let out = std::fs::File::create(dir.join("redis.out"))?;
        let process = Command::new(program)
            .arg(dir.join("redis.conf"))
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            // A group of its own: Ctrl-C at the terminal is for us, and we end the server ourselves.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pid = process.id().ok_or_else(|| io::Error::other("it ended at once"))?;
        Ok(Self { port, password, pid, process })
    }

    async fn wait_until_ready(&self, dir: &Path) -> Result<(), String> {
        let until = Instant::now() + READY_WITHIN;
        loop {
            let (port, password) = (self.port, self.password.clone());
            let tried = tokio::task::spawn_blocking(move || Conversation::open(port, &password, "rediscue-try"));
            let error = match tried.await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            let gone = Path::new("/proc/self").exists() && super::ground::started(self.pid).is_none();
            if gone || Instant::now() > until {
                let said = last_words(dir);
                return Err(if said.is_empty() { error } else { said });
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }

    #[cfg(test)]
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends the server and waits until it has gone.
    pub(super) async fn stop(mut self) {
        self.end().await;
    }

    /// Nothing of a trial's data is to be kept, so nothing is lost by not asking politely.
    async fn end(&mut self) {
        let _ = timeout(Duration::from_secs(3), self.process.kill()).await;
    }
}

/// The end of what the server said, for people.
fn last_words(dir: &Path) -> String {
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap_or_default();
    let said = format!("{}{}", read("redis.out"), read("redis.log"));
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

fn configuration(port: u16, password: &str, dir: &Path) -> String {
    let dir = dir.display();
    // `dir` is quoted: TMPDIR may hold a space.
    format!(
        "bind 127.0.0.1\n\
         port {port}\n\
         requirepass {password}\n\
         daemonize no\n\
         dir \"{dir}\"\n\
         logfile \"{dir}/redis.log\"\n\
         save \"\"\n\
         appendonly no\n\
         maxclients 500\n\
         slowlog-log-slower-than 5000\n\
         slowlog-max-len 128\n\
         latency-monitor-threshold 5\n"
    )
}
