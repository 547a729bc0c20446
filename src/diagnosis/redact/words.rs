//! Lines of text from outside: logs, errors, names.

use std::sync::LazyLock;

use regex::Regex;

/// What is masked, in order: the first rules eat what later ones would cut up.
static RULES: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    let rule = |pattern: &str, with: &'static str| (Regex::new(pattern).expect("the patterns are constants"), with);
    vec![
        rule(r"-----BEGIN [A-Z ]+-----.*", "(key hidden)"),
        rule(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/@]*@", "${1}(hidden)@"),
        rule(
            r"(?i)\b((?:proxy-)?authorization|cookie|set-cookie|x-api-key)\b(\S{0,2})\s*[:=]\s*\S.*",
            "$1$2: (hidden)",
        ),
        rule(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}", "$1 (hidden)"),
        rule(
            r#"(?i)([a-z0-9_-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|credential|requirepass|masterauth)[a-z0-9_-]*)(["']?\s*(?:[:=]|=>)\s*|\s+)("[^"]*"|'[^']*'|[^\s,;&}\])]+)"#,
            "$1$2(hidden)",
        ),
        rule(r#"(?i)\b(AUTH|requirepass|masterauth|SETUSER)(["']?\s+).+"#, "$1$2(hidden)"),
        rule(r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_.-]+", "(token)"),
        rule(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}", "(e-mail)"),
        rule(r"(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "(uuid)"),
        rule(r"(?i)\b[0-9a-f]{24,}\b", "(hex)"),
        rule(r"\b[A-Za-z0-9_-]*[0-9][A-Za-z0-9_-]{31,}\b", "(id)"),
        rule(r"\b\d(?:[ -]?\d){12,18}\b", "(number)"),
    ]
});

/// A line of text fit to be seen: passwords, tokens, e-mail addresses, long ids masked; control characters gone.
pub fn line(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }).collect();
    for (pattern, with) in RULES.iter() {
        if let std::borrow::Cow::Owned(masked) = pattern.replace_all(&line, *with) {
            line = masked;
        }
    }
    line
}

/// A client's address with its last part masked: `10.0.3.x`, `2001:db8:…`. For profiles that ask for it.
pub fn address(address: &str) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    match host.rsplit_once('.') {
        Some((net, _)) if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') => format!("{net}.x"),
        _ if host.starts_with('[') => {
            format!("{}:…", host.trim_start_matches('[').split(':').take(2).collect::<Vec<_>>().join(":"))
        }
        _ if host.is_empty() || host.starts_with('/') => host.to_owned(),
        _ => "(host)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_peoples_data_are_masked_in_log_lines() {
        for text in [
            "login password=s3cret99 ok",
            "login \"password\": \"s3cret99 x\", next",
            "Authorization: Bearer s3cret99.abcdef",
            "redis://bot:s3cret99@10.0.0.1:6379/0",
            "AUTH default s3cret99",
            "CONFIG SET requirepass s3cret99",
            "token s3cret99",
            "api_key=s3cret99&x=1",
        ] {
            let masked = line(text);
            assert!(!masked.contains("s3cret99"), "{masked}");
        }
        assert_eq!(line("mail to bo@example.com failed"), "mail to (e-mail) failed");
        assert_eq!(line("session 3f2b8c1e-1111-2222-3333-444455556666 gone"), "session (uuid) gone");
        assert_eq!(line("id 0123456789abcdef0123456789abcdef"), "id (hex)");
    }

    #[test]
    fn what_an_operator_needs_is_left() {
        for text in [
            "12:01:22.114 WARN redis_error code=ETIMEDOUT pool exhausted (10 of 10) after 2004 ms",
            "# Background saving error",
            "Ready to accept connections on 127.0.0.1:6379",
        ] {
            assert_eq!(line(text), text);
        }
    }

    #[test]
    fn addresses_keep_their_network() {
        assert_eq!(address("10.0.3.7:5123"), "10.0.3.x");
        assert_eq!(address("app-1.internal:99"), "(host)");
    }
}
