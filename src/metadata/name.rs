//! Which names a topic may have: Kafka's rules.

use crate::limits::TOPIC_NAME_BYTES_MAX;

/// What is wrong with a topic name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It has no characters.
    #[error("Topic name is invalid: the empty string is not allowed")]
    Empty,
    /// It is "." or "..".
    #[error("Topic name is invalid: '.' or '..' is not allowed")]
    Dots,
    /// It is longer than [`TOPIC_NAME_BYTES_MAX`]. Holds its length in bytes.
    #[error(
        "Topic name is invalid: its length of {0} is longer than the max allowed length {max}",
        max = TOPIC_NAME_BYTES_MAX
    )]
    TooLong(usize),
    /// It has characters that aren't allowed. Holds the name.
    #[error(
        "Topic name is invalid: '{0}' contains one or more characters other than ASCII \
         alphanumerics, '.', '_' and '-'"
    )]
    Characters(String),
}

/// Whether a topic may have this name: 1 to 249 ASCII letters, digits, '.', '_' and '-', and
/// neither "." nor "..".
pub fn validate(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name == "." || name == ".." {
        return Err(NameError::Dots);
    }
    if name.len() > TOPIC_NAME_BYTES_MAX {
        return Err(NameError::TooLong(name.len()));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !name.bytes().all(allowed) {
        return Err(NameError::Characters(name.to_owned()));
    }
    Ok(())
}

/// The form in which names collide: `a.b` and `a_b` are the same in metric names. `None` for a
/// name that has neither '.' nor '_' and so collides with nothing but itself.
pub fn collision_form(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_kafka_accepts() {
        let longest = "x".repeat(TOPIC_NAME_BYTES_MAX);
        for name in ["a", "A-1_b.c", "...", "_", "-", longest.as_str()] {
            assert_eq!(validate(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn refuses_what_kafka_refuses() {
        assert_eq!(validate(""), Err(NameError::Empty));
        assert_eq!(validate("."), Err(NameError::Dots));
        assert_eq!(validate(".."), Err(NameError::Dots));
        assert_eq!(validate(&"x".repeat(250)), Err(NameError::TooLong(250)));
        for name in ["a b", "a/b", "é", "a\0", "a,b", "a:b"] {
            assert_eq!(validate(name), Err(NameError::Characters(name.to_owned())));
        }
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert_eq!(collision_form("a.b"), collision_form("a_b"));
        assert_ne!(collision_form("a.b"), collision_form("a.c"));
        assert_eq!(collision_form("ab"), None);
    }
}
