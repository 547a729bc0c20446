//! What an error means, and what to do next.
//!
//! A server's own words are never passed on: some errors repeat the arguments
//! they were given. What is taken from them (a slot, an address, a command's
//! name) is taken by shape.

use std::time::Duration;

use super::Explained;
use crate::model::Address;

/// What is known about the call that failed. Everything may be missing.
#[derive(Debug, Clone, Copy, Default)]
pub struct ErrorContext<'a> {
    /// Who answered, or did not.
    pub node: Option<&'a Address>,
    /// The Redis user we were.
    pub user: Option<&'a str>,
    /// What was asked, without its arguments: `CONFIG GET`.
    pub command: Option<&'a str>,
}

impl ErrorContext<'_> {
    fn server(&self) -> String {
        self.node.map_or_else(|| "the server".to_owned(), ToString::to_string)
    }

    fn user(&self) -> String {
        self.user.map_or_else(|| "the default user".to_owned(), |user| format!("user `{user}`"))
    }

    fn asked(&self) -> String {
        self.command.map_or_else(|| "this".to_owned(), |command| format!("`{command}`"))
    }
}

/// A failure below Redis's own protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkFault {
    /// Nobody listens there.
    Refused,
    /// The connection was cut while in use.
    Reset,
    /// The name has no address; the resolver's words.
    Dns(String),
    /// The handshake failed; the TLS library's words.
    Tls(String),
    /// The TLS handshake was begun and not answered.
    Handshake {
        /// How long we waited.
        after: Duration,
    },
    /// No answer in time.
    Timeout {
        /// How long we waited.
        after: Duration,
        /// The TCP connection was there: the server is up and does not answer.
        connected: bool,
    },
    /// The server closed the connection without a word.
    Closed,
    /// No way there; the operating system's words.
    Unreachable(String),
}

/// Explains an error line of Redis (`NOAUTH Authentication required.`), with or without its leading `-`.
pub fn explain(error_line: &str, cx: &ErrorContext) -> Explained {
    let line = error_line.trim().trim_start_matches('-').trim();
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    let is_code = first.len() > 1 && first.bytes().all(|b| b.is_ascii_uppercase() || b == b'_' || b.is_ascii_digit());
    let (code, rest) = if is_code { (first, rest) } else { ("ERR", line) };
    let server = cx.server();
    let say = |code: &str, what: String, cause: &str, next: &str| Explained {
        code: code.to_owned(),
        what,
        cause: cause.to_owned(),
        next: next.to_owned(),
    };
    let lower = rest.to_ascii_lowercase();
    match code {
        "NOAUTH" => say(
            code,
            format!("{server} wants a password and was given none"),
            "`requirepass` or an ACL user is set on the server, and the profile names no password for looks",
            "name the password in the service's profile (`password = { env = … }`, and `user` for an ACL user), then `/redis reload`",
        ),
        "WRONGPASS" => say(
            code,
            format!("{server} refused the password of {}", cx.user()),
            "the password was rotated, the user is disabled or does not exist, or the secret holds a stray line break",
            "put the new secret where the profile says it is; it is read again at the next connection. Who changed it: `acl-log`",
        ),
        "NOPERM" => say(
            code,
            match permission_of(rest) {
                Some(command) => format!("{} may not run `{command}` on {server}", cx.user()),
                None if lower.contains("key") => format!("{} may not read this key on {server}", cx.user()),
                None if lower.contains("channel") => format!("{} may not use this channel on {server}", cx.user()),
                None => format!("{} may not run {} on {server}", cx.user(), cx.asked()),
            },
            "the ACL of the bot's Redis user does not include it, or the provider has taken it from everybody",
            "grant it with the ACL user file in `deploy/`, or go without: what it would have told is left out",
        ),
        "LOADING" => say(
            code,
            format!("{server} is loading its data from disk and answers nothing else yet"),
            "it was restarted, or a replica is taking over a fresh copy from its primary",
            "wait: `persistence` shows how far it has come. If `uptime` is small and nobody restarted it, look for the crash in its log",
        ),
        "MISCONF" => say(
            code,
            format!("{server} refuses writes because its last save to disk failed"),
            "the disk is full or read-only, the directory is gone, or the fork failed for lack of memory. It is rarely corruption",
            "`persistence` names the failed save; free the disk or the memory, then a save must succeed. Switching `stop-writes-on-bgsave-error` off only hides it",
        ),
        "OOM" => say(
            code,
            format!("{server} is at its `maxmemory` and refuses what would need more"),
            "the data reached `maxmemory`, and the policy is `noeviction` or nothing can be evicted",
            "`memory` shows what holds it and ranks what to do; raising `maxmemory` needs room on the host",
        ),
        "BUSY" => say(
            code,
            format!("{server} is running a script or function that has not come back"),
            "a Lua script or function runs longer than `busy-reply-threshold` (5 s)",
            "`slowlog` shows it afterwards. A script that has written nothing can be ended with SCRIPT KILL; one that has written cannot",
        ),
        "NOTBUSY" => say(
            code,
            format!("no script is running on {server}"),
            "it ended by itself before it was to be ended",
            "nothing: look again with `status`",
        ),
        "UNKILLABLE" => say(
            code,
            format!("the script running on {server} has already written and cannot be ended safely"),
            "ending it half-way would leave a half-written state",
            "wait for it, or fail over to a replica; SHUTDOWN NOSAVE loses what was not saved",
        ),
        "READONLY" if lower.contains("script") => say(
            code,
            format!("a read-only script tried to write on {server}"),
            "EVAL_RO and FCALL_RO may not write",
            "nothing to repair on the server; the script is wrong",
        ),
        "READONLY" => say(
            code,
            format!("{server} is a replica and takes no writes"),
            "a failover happened and the client still talks to the old primary, or the address in the profile is a replica's",
            "`replication` names the primary. Behind Sentinel give the profile the Sentinels, so that the primary is found each time",
        ),
        "MOVED" => {
            let (slot, to) = slot_and_address(rest);
            say(
                code,
                format!("slot {slot} is served by {to}, not by {server}"),
                "this server is part of a cluster and the client does not know the slots",
                "name its nodes as `cluster = [\"host:port\"]` in the profile instead of `address`; applications need a cluster-aware client",
            )
        }
        "ASK" => {
            let (slot, to) = slot_and_address(rest);
            say(
                code,
                format!("slot {slot} is being moved from {server} to {to}"),
                "the cluster is being resharded, and this key has already gone",
                "ask again: the client follows by itself. If it lasts, the move is stuck: `replication` lists slots in motion",
            )
        }
        "TRYAGAIN" => say(
            code,
            format!("the keys of one command are being moved between {server} and another server"),
            "the cluster is being resharded and the keys are on two servers for the moment",
            "ask again in a moment; if it lasts, the reshard is stuck",
        ),
        "CLUSTERDOWN" => say(
            code,
            if lower.contains("hash slot not served") {
                format!("{server} says nobody serves this key's slot")
            } else {
                format!("{server} says the cluster is down")
            },
            "too few primaries can be reached, or a slot has no owner and `cluster-require-full-coverage` is yes",
            "`replication` shows which primary is missing; bring it or its replica back before touching slots",
        ),
        "CROSSSLOT" => say(
            code,
            format!("the keys of one command live in different slots of the cluster ({server})"),
            "in a cluster, one command's keys must share a slot",
            "ask for one key at a time, or give the keys a common {hash tag}",
        ),
        "MASTERDOWN" => say(
            code,
            format!("{server} is a replica that has lost its primary, and does not serve stale data"),
            "the link to the primary is down and `replica-serve-stale-data` is no",
            "`replication` shows since when; is the primary up, and reachable from the replica?",
        ),
        "NOREPLICAS" => say(
            code,
            format!("{server} refuses writes: too few replicas follow closely enough"),
            "fewer than `min-replicas-to-write` replicas are connected, or they lag more than `min-replicas-max-lag`",
            "`replication` shows who is missing or lagging",
        ),
        "NOMASTERLINK" => say(
            code,
            format!("{server} cannot hand on its data: it is not in step with its own primary"),
            "a replica of a replica was asked before the chain was complete",
            "`replication` shows the link's state",
        ),
        "NOSCRIPT" => say(
            code,
            format!("{server} does not have the script it was asked to run"),
            "the script cache was emptied by a restart, a failover or SCRIPT FLUSH",
            "applications should fall back to EVAL; a burst of these after a restart passes by itself",
        ),
        "WRONGTYPE" => say(
            code,
            format!("the key on {server} holds another type than {} works on", cx.asked()),
            "GET works on strings, LRANGE on lists, HGET on hashes; the key was made by something else",
            "`inspect KEY` asks for the type first and then reads it the right way",
        ),
        "EXECABORT" => say(
            code,
            format!("{server} threw a transaction away because one of its commands was wrong"),
            "a command between MULTI and EXEC was refused when it was queued",
            "the application's log has the first error; that one is the cause",
        ),
        "NOGROUP" => say(
            code,
            format!("the stream on {server} has no such consumer group, or is not there"),
            "the group was never made, or the stream was deleted and made again",
            "`inspect KEY` shows whether the stream is there and its groups",
        ),
        "BUSYGROUP" => {
            say(code, format!("the consumer group is already there on {server}"), "it was made before", "nothing to do")
        }
        "BUSYKEY" => say(
            code,
            format!("the key to restore is already there on {server}"),
            "something newer has been written under that name",
            "compare the two before replacing it",
        ),
        "NOREPLICA" | "NOGOODSLAVE" => say(
            code,
            format!("{server} knows no replica that could take over"),
            "replicas are down, too far behind, or excluded by their priority",
            "`replication` lists them with their lag",
        ),
        "INPROG" => say(
            code,
            format!("a failover is already under way on {server}"),
            "another one was started before",
            "`replication` shows when it is over",
        ),
        "NOQUORUM" => say(
            code,
            format!("{server}: too few Sentinels agree to fail over"),
            "Sentinels are down or cannot see each other",
            "`connectivity` tries every Sentinel of the profile",
        ),
        "IOERR" => say(
            code,
            format!("{server} could not reach the other server"),
            "the target is down or too slow",
            "`connectivity`",
        ),
        "DENIED" => say(
            code,
            format!("{server} is in protected mode and talks only to its own host"),
            "no password is set and no `bind` address is named, so Redis guards itself",
            "set a password (or an ACL user) and `bind`; do not simply switch `protected-mode` off",
        ),
        "UNBLOCKED" => say(
            code,
            format!("the wait on {server} was ended from outside"),
            "somebody ran CLIENT UNBLOCK, or it became a replica",
            "ask again",
        ),
        "NOPROTO" => say(
            code,
            format!("{server} does not speak the protocol version asked for"),
            "it is older than Redis 6, or a proxy stands in between",
            "nothing: the bot falls back to the older protocol",
        ),
        "ERR" => explain_err(&lower, rest, cx),
        other => say(
            other,
            format!("{server} answered {} with an error of its own, {other}", cx.asked()),
            "it is not one of the errors of Redis we know; a module or a proxy may have its own",
            "its words are in the bot's log, redacted, under this run's id",
        ),
    }
}

/// Errors that Redis gives the common code `ERR`, told apart by their words.
fn explain_err(lower: &str, rest: &str, cx: &ErrorContext) -> Explained {
    let server = cx.server();
    let say = |code: &str, what: String, cause: &str, next: &str| Explained {
        code: code.to_owned(),
        what,
        cause: cause.to_owned(),
        next: next.to_owned(),
    };
    if lower.contains("unknown command") || lower.contains("unknown subcommand") {
        let name = cx.command.map(str::to_owned).or_else(|| quoted_command(rest));
        return say(
            "UNKNOWN_COMMAND",
            format!(
                "{server} does not know {}",
                name.map_or_else(|| "the command".to_owned(), |name| format!("`{name}`"))
            ),
            "the server is older than the command, or it is managed and the command was taken out or renamed",
            "go without: the card says what could not be looked at. `help` names what else shows it",
        );
    }
    if lower.contains("max number of clients reached") {
        return say(
            "MAXCLIENTS",
            format!("{server} turned us away: it has as many clients as `maxclients` allows"),
            "an application leaks connections or its pools are too large together",
            "`clients` groups them by name and address, once a connection can be had; raise `maxclients` within the host's file limit, or end the leak",
        );
    }
    if lower.contains("not allowed")
        || lower.contains("is disabled")
        || lower.contains("not supported")
        || lower.contains("disabled command")
    {
        return say(
            "NOT_ALLOWED",
            format!("{server} does not allow {}", cx.asked()),
            "managed servers keep some commands to themselves, and some are switched off in the server's configuration",
            "go without: the card says what could not be looked at. The provider's console shows the rest",
        );
    }
    if lower.contains("cluster support disabled") {
        return say(
            "NOT_A_CLUSTER",
            format!("{server} is not part of a cluster"),
            "the profile says cluster, the server says otherwise",
            "set the instance's deployment in the profile to what it is",
        );
    }
    if lower.contains("invalid password") || lower.contains("without any password configured") {
        return say(
            "WRONGPASS",
            format!("{server} refused the password of {}", cx.user()),
            "the password is wrong, or the server has none set and was given one",
            "compare the profile's credential with the server's; the secret is read again at the next connection",
        );
    }
    if lower.contains("protected mode") {
        return explain("DENIED", cx);
    }
    if lower.contains("lfu maxmemory policy") || lower.contains("an lfu") {
        return say(
            "NOT_LFU",
            format!("{server} does not count accesses"),
            "access frequency is kept only while `maxmemory-policy` is one of the LFU ones",
            "idle time is kept instead: `inspect KEY`",
        );
    }
    if lower.contains("no such key") {
        return say(
            "NO_SUCH_KEY",
            format!("the key is not there on {server}"),
            "it expired, was evicted or deleted, or lives in another logical database",
            "check the name and the profile's `database`",
        );
    }
    if lower.contains("syntax error") || lower.contains("wrong number of arguments") {
        return say(
            "SYNTAX",
            format!("{server} did not understand {}", cx.asked()),
            "the server's version takes other arguments",
            "`rediscue check` compares the command file with the server",
        );
    }
    if lower.contains("no such master") {
        return say(
            "NO_SUCH_MASTER",
            format!("the Sentinel {server} knows no master of that name"),
            "the name in the profile is not the one in sentinel.conf",
            "compare `master` in the profile with `SENTINEL MASTERS`",
        );
    }
    say(
        "ERR",
        format!("{server} answered {} with an error", cx.asked()),
        "its words are not shown, because errors can repeat what was asked",
        "they are in the bot's log, redacted, under this run's id",
    )
}

/// Explains why no answer came at all.
pub fn explain_network(fault: &NetworkFault, cx: &ErrorContext) -> Explained {
    let server = cx.server();
    let (code, what, cause, next) = match fault {
        NetworkFault::Refused => (
            "REFUSED",
            format!("{server} refused the connection: nobody listens there"),
            "Redis is down, still starting, or listens on another port or address".to_owned(),
            "look at the process and its log on the host; `connectivity` tells the steps apart",
        ),
        NetworkFault::Reset => (
            "RESET",
            format!("{server} cut the connection in the middle"),
            "it crashed or was restarted, a proxy or firewall cut it, or an output buffer limit was reached".to_owned(),
            "ask again; if the uptime on `status` has become small, it restarted",
        ),
        NetworkFault::Closed => (
            "CLOSED",
            format!("{server} closed the connection without a word"),
            "it is shutting down, has reached `maxclients`, expects TLS, or closes idle clients (`timeout`)".to_owned(),
            "`connectivity` tells the steps apart",
        ),
        NetworkFault::Dns(words) => (
            "DNS",
            format!("the name of {server} could not be resolved"),
            format!("the name is wrong, gone, or known only inside another network ({})", short(words)),
            "check the host in the profile, and the resolver of the machine the bot runs on",
        ),
        NetworkFault::Tls(words) => (
            "TLS",
            format!("the TLS handshake with {server} failed"),
            tls_cause(words),
            "check `tls` in the profile (authority, server name, client certificate) against the server's certificate",
        ),
        NetworkFault::Handshake { after } => (
            "TLS",
            format!("the TLS handshake with {server} failed: it did not answer within {}", seconds(*after)),
            "it does not speak TLS on this port (Redis then waits for the rest of a line), or it is blocked and answers nobody"
                .to_owned(),
            "compare `tls` and the port in the profile with the server's `tls-port`; if they are right, look at the process on the host",
        ),
        NetworkFault::Timeout { after, connected: true } => (
            "TIMEOUT",
            format!("{server} accepts connections but did not answer within {}: it is blocked", seconds(*after)),
            "one slow command holds everybody up (KEYS, a script, a huge DEL), it is swapping or saving, or the process is stopped"
                .to_owned(),
            "`slowlog` and `latency` once it answers; meanwhile look at the process on the host. Do not restart it before knowing whether it is saving",
        ),
        NetworkFault::Timeout { after, connected: false } => (
            "TIMEOUT",
            format!("no connection to {server} within {}", seconds(*after)),
            "the host is down, or a firewall drops the packets (a closed port would have been refused at once)".to_owned(),
            "check the route, the firewall or security group, and whether the host is up",
        ),
        NetworkFault::Unreachable(words) => (
            "UNREACHABLE",
            format!("{server} cannot be reached from here"),
            format!("there is no route, or the socket is not there or not ours to open ({})", short(words)),
            "check the address in the profile and the network of the machine the bot runs on",
        ),
    };
    Explained { code: code.into(), what, cause, next: next.into() }
}

/// The command named in a NOPERM line: `… to run the 'config|get' command`.
fn permission_of(rest: &str) -> Option<String> {
    if rest.contains("run the") || rest.contains("run this") { quoted_command(rest) } else { None }
}

/// The first quoted word, when it looks like a command's name and nothing else.
fn quoted_command(text: &str) -> Option<String> {
    let start = text.find(['\'', '`'])? + 1;
    let length = text[start..].find(['\'', '`'])?;
    let name = &text[start..start + length];
    let plain = (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphabetic() || b"|_-.".contains(&b));
    plain.then(|| name.replace('|', " ").to_ascii_uppercase())
}

/// `3999 127.0.0.1:6381` of a MOVED or ASK line.
fn slot_and_address(rest: &str) -> (String, String) {
    let mut words = rest.split_whitespace();
    let slot = words.next().filter(|slot| slot.len() <= 5 && slot.bytes().all(|b| b.is_ascii_digit())).unwrap_or("?");
    let to = words
        .next()
        .filter(|to| to.len() <= 120 && to.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-_[]".contains(&b)))
        .unwrap_or("another server");
    (slot.to_owned(), to.to_owned())
}

fn tls_cause(words: &str) -> String {
    let lower = words.to_ascii_lowercase();
    let cause = if lower.contains("unknownissuer") || lower.contains("unknown issuer") || lower.contains("unknown ca") {
        "the server's certificate is signed by an authority we do not trust"
    } else if lower.contains("notvalidforname") || lower.contains("not valid for name") {
        "the certificate is for another name"
    } else if lower.contains("expired") {
        "the certificate has expired"
    } else if lower.contains("certificate_required")
        || lower.contains("certificaterequired")
        || lower.contains("certificate required")
    {
        "the server wants a client certificate and was shown none"
    } else if lower.contains("corrupt") || lower.contains("invalidcontenttype") || lower.contains("eof") {
        "the other side does not speak TLS on this port"
    } else {
        "the two sides could not agree"
    };
    format!("{cause} ({})", short(words))
}

/// Somebody else's words, made harmless and short.
fn short(words: &str) -> String {
    let line = super::redact::line(words.lines().next().unwrap_or_default());
    if line.chars().count() > 100 { line.chars().take(100).chain(['…']).collect() } else { line }
}

fn seconds(after: Duration) -> String {
    if after < Duration::from_secs(1) {
        format!("{} ms", after.as_millis())
    } else {
        format!("{:.1} s", after.as_secs_f64()).replace(".0 s", " s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cx<'a>(address: &'a Address) -> ErrorContext<'a> {
        ErrorContext { node: Some(address), user: Some("rediscue"), command: Some("CONFIG GET") }
    }

    fn address() -> Address {
        Address::Tcp { host: "10.0.0.5".into(), port: 6379 }
    }

    #[test]
    fn every_error_of_redis_we_know_has_a_cause_and_a_next_step() {
        let address = address();
        for line in [
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username-password pair or user is disabled.",
            "NOPERM this user has no permissions to run the 'config|get' command",
            "LOADING Redis is loading the dataset in memory",
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            "READONLY You can't write against a read only replica.",
            "MOVED 3999 127.0.0.1:6381",
            "ASK 3999 127.0.0.1:6381",
            "CLUSTERDOWN The cluster is down",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "NOREPLICAS Not enough good replicas to write.",
            "CROSSSLOT Keys in request don't hash to the same slot",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "NOSCRIPT No matching script. Please use EVAL.",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "EXECABORT Transaction discarded because of previous errors.",
            "NOTBUSY No scripts in execution right now.",
            "UNKILLABLE Sorry the script already executed write commands against the dataset.",
            "DENIED Redis is running in protected mode because protected mode is enabled",
        ] {
            let explained = explain(line, &cx(&address));
            assert_eq!(explained.code, line.split(' ').next().unwrap(), "{line}");
            assert!(explained.what.contains("10.0.0.5:6379"), "{explained:?}");
            assert!(!explained.cause.is_empty() && !explained.next.is_empty());
        }
        for (line, code) in [
            ("ERR max number of clients reached", "MAXCLIENTS"),
            ("ERR unknown command 'MEMORY', with args beginning with: 'USAGE' 's3cret' ", "UNKNOWN_COMMAND"),
            ("ERR command not allowed", "NOT_ALLOWED"),
            ("ERR This instance has cluster support disabled", "NOT_A_CLUSTER"),
            ("ERR something new", "ERR"),
            ("FOOBAR from a module", "FOOBAR"),
        ] {
            assert_eq!(explain(line, &cx(&address)).code, code, "{line}");
        }
    }

    #[test]
    fn what_the_server_repeats_of_the_arguments_is_never_shown() {
        let address = address();
        for line in [
            "ERR unknown command 'SETT', with args beginning with: 'k' 's3cret' ",
            "ERR value 's3cret' is out of range",
            "NOPERM s3cret",
            "WHATEVER s3cret",
            "MOVED s3cret s3cret'",
        ] {
            let Explained { code: _, what, cause, next } = explain(line, &cx(&address));
            assert!(!format!("{what}{cause}{next}").contains("s3cret"), "{line}: {what}");
        }
    }

    #[test]
    fn a_server_that_accepts_and_does_not_answer_is_said_to_be_blocked() {
        let address = address();
        let fault = NetworkFault::Timeout { after: Duration::from_millis(1500), connected: true };
        let explained = explain_network(&fault, &cx(&address));
        assert_eq!(explained.what, "10.0.0.5:6379 accepts connections but did not answer within 1.5 s: it is blocked");
        let fault = NetworkFault::Timeout { after: Duration::from_secs(2), connected: false };
        assert!(explain_network(&fault, &cx(&address)).what.contains("no connection"));
        for fault in [
            NetworkFault::Refused,
            NetworkFault::Reset,
            NetworkFault::Closed,
            NetworkFault::Dns("no such host".into()),
            NetworkFault::Tls("invalid peer certificate: UnknownIssuer".into()),
            NetworkFault::Unreachable("No route to host".into()),
        ] {
            let explained = explain_network(&fault, &ErrorContext::default());
            assert!(!explained.cause.is_empty() && !explained.next.is_empty(), "{fault:?}");
        }
    }
}
