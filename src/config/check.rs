//! What several files check alike: lengths of time, addresses, URLs, secrets, paths, names.

use std::{
    net::{IpAddr, Ipv6Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::Url;

use super::{
    sheet::{At, Sheet, suggest},
    wire::SecretWire,
};
use crate::model::{Address, SecretRef, parse_duration, show_duration};

/// Said wherever a secret was found in a file. The secret itself is said nowhere.
const SECRET_HINT: &str =
    "keep it in an environment variable or a file and say which; then change it: this file may have been read";

/// May requests go to addresses of one's own network?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Private {
    Allowed,
    Refused,
}

/// A length of time within bounds; the shortest allowed when it is none.
pub(super) fn duration(sheet: &mut Sheet, written: &At<String>, what: &str, from: Duration, to: Duration) -> Duration {
    match parse_duration(&written.value) {
        Some(length) if (from..=to).contains(&length) => length,
        Some(_) => {
            let reason = format!("`{what}` must be from {} to {}", show_duration(from), show_duration(to));
            sheet.wrong(written.at, reason, None);
            from
        }
        None => {
            let reason = format!("`{what}` is no length of time");
            sheet.wrong(written.at, reason, "write `250ms`, `30s`, `5m`, `2h`, `1d` or `2w`".to_owned());
            from
        }
    }
}

/// A size within bounds; the smallest allowed when it is none.
pub(super) fn bytes(sheet: &mut Sheet, written: &At<String>, what: &str, from: u64, to: u64) -> u64 {
    let Some(found) = crate::model::parse_bytes(&written.value) else {
        sheet.wrong(written.at, format!("`{what}` is no size"), "write `512mb`, `4gb` or a number of bytes".to_owned());
        return from;
    };
    if !(from..=to).contains(&found) {
        let hint = format!("from {} to {}", crate::runbook::show_bytes(from), crate::runbook::show_bytes(to));
        sheet.wrong(written.at, format!("`{what}` is out of bounds"), hint);
    }
    found.clamp(from, to)
}

/// Where a secret is: exactly one of the two ways.
pub(super) fn secret(sheet: &mut Sheet, written: &At<SecretWire>, what: &str) -> SecretRef {
    match (&written.value.env, &written.value.file) {
        (Some(name), None) => {
            let valid = !name.value.is_empty()
                && !name.value.starts_with(|c: char| c.is_ascii_digit())
                && name.value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !valid {
                // Perhaps the secret itself was written where its name belongs: it is not repeated.
                sheet.wrong(
                    name.at,
                    format!("`{what}.env` must be the name of an environment variable"),
                    "names hold letters, digits and `_`, and start with no digit".to_owned(),
                );
            }
            SecretRef::Env(name.value.clone())
        }
        (None, Some(file)) => SecretRef::File(path(sheet, file, &format!("{what}.file"))),
        (None, None) if sheet.is_hurt(written.at) => SecretRef::Env(String::new()),
        (Some(_), Some(_)) | (None, None) => {
            let hint = "write `{ env = \"NAME\" }` or `{ file = \"/path\" }`".to_owned();
            sheet.wrong(written.at, format!("`{what}` must say `env` or `file`, one of them"), hint);
            SecretRef::Env(String::new())
        }
    }
}

/// An absolute path.
pub(super) fn path(sheet: &mut Sheet, written: &At<String>, what: &str) -> PathBuf {
    let path = Path::new(&written.value);
    if !path.is_absolute() || written.value.contains('\0') {
        let hint = "the bot may be started from anywhere: begin with `/`".to_owned();
        sheet.wrong(written.at, format!("`{what}` must be an absolute path"), hint);
    }
    path.to_owned()
}

/// `host:port`, `[v6]:port` or `unix:/path`.
pub(super) fn address(sheet: &mut Sheet, written: &At<String>, what: &str) -> Address {
    let nowhere = Address::Tcp { host: String::new(), port: 0 };
    let text = written.value.as_str();
    if text.contains("://") || text.contains('@') {
        let hint = "write `host:port`; `user`, `password`, `tls` and `database` are keys of their own".to_owned();
        // A URL may hold a password: it is not repeated.
        sheet.wrong(written.at, format!("`{what}` must be an address, not a URL"), hint);
        return nowhere;
    }
    if let Some(path) = text.strip_prefix("unix:") {
        if !path.starts_with('/') {
            sheet.wrong(written.at, format!("`{what}` must name its socket by an absolute path"), None);
        }
        return Address::Unix(PathBuf::from(path));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        sheet.wrong(
            written.at,
            format!("`{what}` has no port"),
            "write `host:port`, as `redis.internal:6379`".to_owned(),
        );
        return nowhere;
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let ip = bracketed.unwrap_or(host).parse::<IpAddr>().ok();
    let valid = match (bracketed, ip) {
        (Some(_), ip) => ip.is_some_and(|ip| ip.is_ipv6()),
        (None, Some(ip)) => ip.is_ipv4(),
        (None, None) => is_host(host),
    };
    if !valid {
        let hint = "write `host:port`, or `[address]:port` for IPv6".to_owned();
        sheet.wrong(written.at, format!("`{what}` has no valid host"), hint);
    }
    if ip.is_some_and(is_link_local) {
        sheet.wrong(written.at, format!("`{what}` is a link-local address"), LINK_LOCAL.to_owned());
    }
    let port = port.parse::<u16>().ok().filter(|port| *port > 0).unwrap_or_else(|| {
        sheet.wrong(written.at, format!("`{what}` has no valid port"), "ports go from 1 to 65535".to_owned());
        0
    });
    Address::Tcp { host: bracketed.unwrap_or(host).to_owned(), port }
}

const LINK_LOCAL: &str = "such addresses serve a cloud machine's own credentials; they are never asked";

/// An `http` or `https` URL that holds no secret and leads nowhere it should not.
pub(super) fn url(sheet: &mut Sheet, written: &At<String>, what: &str, private: Private) -> String {
    let text = written.value.trim();
    // Left out where it must stand: told already.
    if written.at.is_none() && text.is_empty() {
        return String::new();
    }
    let wrong = |sheet: &mut Sheet, reason: &str, hint: &str| {
        sheet.wrong(written.at, format!("`{what}` {reason}"), (!hint.is_empty()).then(|| hint.to_owned()));
    };
    let authority = text.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(""));
    if authority.contains(['{', '}']) {
        wrong(sheet, "must have a fixed host", "`{argument}` may stand in the path and in the query only");
        return text.to_owned();
    }
    let parsed = match Url::parse(text) {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") => parsed,
        Ok(_) => {
            wrong(sheet, "must begin with `http://` or `https://`", "");
            return text.to_owned();
        }
        Err(error) => {
            wrong(sheet, &format!("is no URL: {error}"), "");
            return text.to_owned();
        }
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        wrong(sheet, "holds a user or password, and secrets may not be written in files like this", SECRET_HINT);
    }
    if let Some((name, _)) = parsed.query_pairs().find(|(name, value)| is_secret_name(name) && !value.starts_with('{'))
    {
        let reason = format!("holds a secret in `{name}`, and secrets may not be written in files like this");
        wrong(sheet, &reason, "send it as a header that says where it is kept; then change it");
    }
    let open = text.matches('{').count();
    if open != text.matches('}').count() {
        wrong(sheet, "has a `{` without its `}`", "write `{argument}`");
    }
    match parsed.host_str().map(|host| host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase()) {
        None => wrong(sheet, "has no host", ""),
        Some(host) => {
            let ip = host.parse::<IpAddr>().ok();
            if ip.is_some_and(is_link_local) || matches!(host.as_str(), "metadata" | "metadata.google.internal") {
                wrong(sheet, "is a link-local address", LINK_LOCAL);
            } else if private == Private::Refused
                && (ip.is_some_and(is_private) || host == "localhost" || host.ends_with(".localhost"))
            {
                wrong(sheet, "is on a private or loopback address", "say `allow_private = true` if that is meant");
            }
        }
    }
    text.to_owned()
}

/// A link people follow themselves: only that it is one, and holds no secret.
pub(super) fn link(sheet: &mut Sheet, written: &At<String>, what: &str) -> String {
    // A runbook beside this one is a path; it is shown as it is.
    if written.value.contains("://") { url(sheet, written, what, Private::Allowed) } else { written.value.clone() }
}

/// A word people can type: it must be a name.
pub(super) fn word(sheet: &mut Sheet, name: &str, at: Option<usize>, what: &str) {
    if let Err(error) = name.parse::<crate::model::ServiceName>() {
        sheet.wrong(at, format!("{what}: {error}"), None);
    }
}

/// Looks a name up among the known ones.
pub(super) fn known<'n>(
    sheet: &mut Sheet,
    written: &At<String>,
    what: &str,
    names: impl IntoIterator<Item = &'n str> + Clone,
) -> bool {
    let found = names.clone().into_iter().any(|name| name == written.value);
    if !found {
        let all: Vec<&str> = names.clone().into_iter().take(12).collect();
        let hint = suggest(&written.value, names)
            .or_else(|| (!all.is_empty()).then(|| format!("there are {}", super::sheet::list(&all))));
        sheet.wrong(written.at, format!("there is no {what} `{}`", shorten(&written.value)), hint);
    }
    found
}

/// A Redis glob that can match something.
pub(super) fn glob(sheet: &mut Sheet, written: &At<String>, what: &str) {
    let mut chars = written.value.chars();
    let mut in_class = false;
    let mut dangling = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => dangling = chars.next().is_none(),
            '[' => in_class = true,
            ']' => in_class = false,
            _ => {}
        }
    }
    let reason = match () {
        () if written.value.is_empty() => "is empty",
        () if in_class => "has a `[` without its `]`",
        () if dangling => "ends in a `\\` that escapes nothing",
        () => return,
    };
    sheet.wrong(written.at, format!("`{what}` {reason}"), "a Redis glob looks like `session:*`".to_owned());
}

/// Does a name say that a secret stands behind it?
pub(super) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let parts: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    parts.iter().any(|part| {
        matches!(
            *part,
            "key" | "apikey" | "token" | "secret" | "password" | "passwd" | "pwd" | "auth" | "sig" | "signature"
        ) || part.ends_with("token")
            || part.ends_with("secret")
            || part.ends_with("password")
            || part.starts_with("authoriz")
            || *part == "cookie"
    })
}

fn is_host(host: &str) -> bool {
    (1..=253).contains(&host.len())
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        })
}

fn unmapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match unmapped(ip) {
        IpAddr::V4(v4) => v4.is_link_local(),
        // The second is where one cloud serves its metadata over IPv6.
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6 == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    }
}

fn is_private(ip: IpAddr) -> bool {
    match unmapped(ip) {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local(),
    }
}

/// At most 60 characters of what somebody wrote.
pub(super) fn shorten(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}
