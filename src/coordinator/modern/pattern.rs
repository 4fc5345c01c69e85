//! Regular expressions over topic names: RE2's syntax, time linear in the name, bounded memory.
//!
//! Kafka uses RE2/J. This is the `regex` crate, of the same family: no back references, no
//! looking around, no backtracking. `\Q...\E` is rewritten. Names are ASCII, so classes such as
//! `\w` are ASCII and `\p{...}` is not known.

use std::collections::BTreeSet;

use regex::bytes::{Regex, RegexBuilder};

use super::topics::Topics;
use crate::limits::{TOPIC_REGEX_BYTES_MAX, TOPIC_REGEX_COMPILED_BYTES_MAX};

/// An expression that whole topic names are held against.
pub(super) struct Pattern(Regex);

impl Pattern {
    /// Or why not, as the end of a sentence.
    pub(super) fn compile(text: &str) -> Result<Pattern, String> {
        if text.len() > TOPIC_REGEX_BYTES_MAX {
            let bytes = text.len();
            return Err(format!("it has {bytes} bytes and may have {TOPIC_REGEX_BYTES_MAX}"));
        }
        let text = unquoted(text);
        // By itself first: "a)|(b" is none, though it would be one between the parentheses below.
        build(&text)?;
        build(&format!(r"\A(?:{text})\z")).map(Pattern)
    }

    /// Whether a name fits.
    pub(super) fn matches(&self, name: &str) -> bool {
        self.0.is_match(name.as_bytes())
    }

    /// The names of all topics that fit.
    pub(super) fn matching(&self, topics: &dyn Topics) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        topics.each_name(&mut |name| {
            if self.matches(name) {
                found.insert(name.to_owned());
            }
        });
        found
    }
}

fn build(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text)
        .unicode(false)
        .size_limit(TOPIC_REGEX_COMPILED_BYTES_MAX)
        .dfa_size_limit(TOPIC_REGEX_COMPILED_BYTES_MAX)
        .nest_limit(100)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(max) => {
                format!("compiled, it takes more than the {max} bytes it may")
            }
            // The crate draws the place below the expression: the last line says what is wrong.
            other => {
                let text = other.to_string();
                text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
            }
        })
}

/// With what stands between `\Q` and `\E` escaped.
fn unquoted(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('\\') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if let Some(quoted) = from.strip_prefix("\\Q") {
            let (inside, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            out.push_str(&regex::escape(inside));
            rest = after;
        } else {
            // The backslash and what it escapes, so that `\\Q` is a backslash and a Q.
            let end = from.chars().take(2).map(char::len_utf8).sum();
            out.push_str(&from[..end]);
            rest = &from[end..];
        }
    }
    out + rest
}
