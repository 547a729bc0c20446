//! Stands in for `diagnosis::{errors, looks, reading, redact}` until they are there.
#![allow(missing_docs, dead_code)]

pub(crate) mod errors {
    use std::time::Duration;

    use crate::{diagnosis::Explained, model::Address};

    #[derive(Debug, Clone, Copy, Default)]
    pub(crate) struct ErrorContext<'a> {
        pub node: Option<&'a Address>,
        pub user: Option<&'a str>,
        pub command: Option<&'a str>,
    }

    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) enum NetworkFault {
        Refused,
        Reset,
        Dns(String),
        Tls(String),
        Timeout { after: Duration, connected: bool },
        Closed,
        Unreachable(String),
    }

    pub(crate) fn explain(error_line: &str, cx: &ErrorContext) -> Explained {
        let code = error_line.split(' ').next().unwrap_or("ERR").to_owned();
        let what = match cx.node {
            Some(node) => format!("{node} answered with the error {code}"),
            None => format!("the server answered with the error {code}"),
        };
        Explained { code, what, cause: "the server refused".into(), next: "run `connectivity`".into() }
    }

    pub(crate) fn explain_network(fault: &NetworkFault, cx: &ErrorContext) -> Explained {
        let node = cx.node.map_or_else(|| "the server".to_owned(), ToString::to_string);
        let (code, what) = match fault {
            NetworkFault::Refused => ("REFUSED", format!("{node} refuses connections")),
            NetworkFault::Reset => ("RESET", format!("{node} cut the connection")),
            NetworkFault::Dns(why) => ("DNS", format!("{node} has no address: {why}")),
            NetworkFault::Tls(why) => ("TLS", format!("TLS to {node} failed: {why}")),
            NetworkFault::Timeout { after, connected: true } => {
                ("TIMEOUT", format!("{node} accepts TCP but does not answer within {} ms", after.as_millis()))
            }
            NetworkFault::Timeout { after, .. } => {
                ("TIMEOUT", format!("no connection to {node} within {} ms", after.as_millis()))
            }
            NetworkFault::Closed => ("CLOSED", format!("{node} closed the connection")),
            NetworkFault::Unreachable(why) => ("UNREACHABLE", format!("no way to {node}: {why}")),
        };
        Explained { code: code.into(), what, cause: "the network".into(), next: "run `connectivity`".into() }
    }
}

pub(crate) mod looks {
    pub(crate) enum LookVerdict {
        Look { reads_values: bool },
        Refused { why: String, instead: String },
        Write,
        NotListed,
    }

    pub(crate) fn classify(argv: &[String]) -> LookVerdict {
        match argv.first().map(|name| name.to_ascii_uppercase()).as_deref() {
            Some("INFO" | "PING" | "ROLE" | "DBSIZE") => LookVerdict::Look { reads_values: false },
            _ => LookVerdict::NotListed,
        }
    }
}

pub(crate) mod reading {
    use serde_json::Value;

    use crate::diagnosis::Node;

    pub(crate) fn read(_argv: &[String], raw: Value) -> Value {
        raw
    }

    pub(crate) fn merge(_argv: &[String], parts: &[(Node, Value)]) -> Value {
        parts.first().map_or(Value::Null, |(_, value)| value.clone())
    }
}

pub(crate) mod redact {
    use serde_json::Value;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Reveal {
        No,
        Yes,
    }

    pub(crate) fn reply(_argv: &[String], value: Value, _reveal: Reveal) -> Value {
        value
    }

    pub(crate) fn line(text: &str) -> String {
        text.to_owned()
    }
}
