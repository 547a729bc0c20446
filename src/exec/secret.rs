//! Reading a secret at the moment it is needed, so that a rotated one is picked up.

use secrecy::SecretString;

use crate::{diagnosis::Explained, model::SecretRef};

/// Reads it. The error names where it should be, never what it is.
pub(crate) fn read(from: &SecretRef) -> Result<SecretString, Box<Explained>> {
    let found = match from {
        SecretRef::Env(name) => std::env::var(name).map_err(|error| match error {
            std::env::VarError::NotPresent => "it is not set".to_owned(),
            std::env::VarError::NotUnicode(_) => "it is not text".to_owned(),
        }),
        SecretRef::File(path) => {
            std::fs::read_to_string(path).map_err(|error| super::fault::plain(&error)).map(|mut text| {
                text.truncate(text.trim_end_matches(['\r', '\n']).len());
                text
            })
        }
    };
    found.map(SecretString::from).map_err(|why| {
        Box::new(Explained {
            code: "SECRET".into(),
            what: format!("the secret in {from} cannot be read: {why}"),
            cause: "the bot's own environment or file is missing what the profile names".into(),
            next: "set it for the bot's process, or correct the profile; `rediscue check` shows which are missing"
                .into(),
        })
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_trailing_line_break_is_no_part_of_a_secret_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter two \r\n").unwrap();
        assert_eq!(read(&SecretRef::File(file.path().to_owned())).unwrap().expose_secret(), "hunter two ");
    }

    #[test]
    fn a_missing_secret_is_named_and_explained() {
        let error = read(&SecretRef::Env("REDISCUE_TEST_NOT_SET".into())).unwrap_err();
        assert_eq!(error.code, "SECRET");
        assert!(error.what.contains("environment variable REDISCUE_TEST_NOT_SET"), "{}", error.what);
    }
}
