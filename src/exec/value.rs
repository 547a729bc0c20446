//! A server's reply as JSON, before anybody has read it.

use redis::Value as Reply;
use serde_json::{Map, Number, Value};

/// The line an error reply was sent as: `NOAUTH Authentication required.`
pub(crate) fn error_line(error: &redis::ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

/// Strings become strings (bytes that are no UTF-8 are replaced), arrays lists,
/// maps objects, nil null. An error inside a list (as EXEC gives) becomes its line.
pub(crate) fn to_json(reply: Reply) -> Value {
    match reply {
        Reply::Nil => Value::Null,
        Reply::Int(n) => Value::from(n),
        Reply::BulkString(bytes) => Value::String(text(bytes)),
        Reply::SimpleString(text) => Value::String(text),
        Reply::Okay => Value::from("OK"),
        Reply::Array(items) | Reply::Set(items) => Value::Array(items.into_iter().map(to_json).collect()),
        Reply::Map(pairs) => {
            Value::Object(pairs.into_iter().map(|(key, value)| (as_key(key), to_json(value))).collect::<Map<_, _>>())
        }
        Reply::Attribute { data, .. } => to_json(*data),
        Reply::Double(x) => Number::from_f64(x).map_or_else(|| Value::String(x.to_string()), Value::Number),
        Reply::Boolean(yes) => Value::Bool(yes),
        Reply::VerbatimString { text, .. } => Value::String(text),
        Reply::BigNumber(bytes) => Value::String(text(bytes)),
        Reply::Push { data, .. } => Value::Array(data.into_iter().map(to_json).collect()),
        Reply::ServerError(error) => Value::String(error_line(&error)),
        _ => Value::Null,
    }
}

fn as_key(reply: Reply) -> String {
    match to_json(reply) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_replaced_and_nothing_panics() {
        let reply = Reply::Array(vec![
            Reply::BulkString(vec![0xff, b'a']),
            Reply::Nil,
            Reply::Double(f64::NAN),
            Reply::Map(vec![(Reply::Int(1), Reply::Okay)]),
        ]);
        assert_eq!(to_json(reply).to_string(), r#"["�a",null,"NaN",{"1":"OK"}]"#);
    }
}
