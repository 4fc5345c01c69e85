//! What the doctor found: one line for each thing looked at, for people and for machines.

use std::fmt::Display;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::super::output::Table;

/// How good a finding is. Ordered: the worst of several is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing to do.
    Ok,
    /// The broker runs, but slower or with less than this host could give.
    Warn,
    /// The broker won't run here, or would not keep its promises.
    Bad,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Bad => "bad",
        }
    }
}

/// One thing looked at.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What was looked at, as `area.thing`. Stable: scripts may look for it.
    pub name: String,
    /// How good it is.
    pub level: Level,
    /// What was found, for people.
    pub value: String,
    /// What to do about it when it is not ok.
    pub advice: Option<String>,
    /// The numbers behind `value`, for machines.
    pub data: Value,
}

impl Check {
    /// Nothing to do about this one.
    pub fn ok(name: impl Into<String>, value: impl Into<String>) -> Check {
        Check::new(Level::Ok, name, value, None)
    }

    /// Could be better, and how.
    pub fn warn(
        name: impl Into<String>,
        value: impl Into<String>,
        advice: impl Into<String>,
    ) -> Check {
        Check::new(Level::Warn, name, value, Some(advice.into()))
    }

    /// Must be better, and how.
    pub fn bad(
        name: impl Into<String>,
        value: impl Into<String>,
        advice: impl Into<String>,
    ) -> Check {
        Check::new(Level::Bad, name, value, Some(advice.into()))
    }

    /// A thing that could not be found out. That alone is no reason to worry.
    pub fn unknown(name: impl Into<String>, why: impl Display) -> Check {
        Check::ok(name, format!("unknown: {why}"))
    }

    fn new(
        level: Level,
        name: impl Into<String>,
        value: impl Into<String>,
        advice: Option<String>,
    ) -> Check {
        Check { name: name.into(), level, value: value.into(), advice, data: Value::Null }
    }

    /// The same with numbers for machines.
    pub fn with(mut self, data: Value) -> Check {
        self.data = data;
        self
    }
}

/// The worst level among the checks.
pub fn worst(checks: &[Check]) -> Level {
    checks.iter().map(|check| check.level).max().unwrap_or(Level::Ok)
}

/// The checks as a table, with the advice below, so that the values stay aligned.
pub fn to_text(directory: &Path, checks: &[Check]) -> String {
    let mut table = Table::new(0, &["", "CHECK", "FOUND"]);
    for check in checks {
        table.row([check.level.name().to_owned(), check.name.clone(), check.value.clone()]);
    }
    let mut text = format!("data directory: {}\n\n{}", directory.display(), table.render());
    for check in checks {
        if let Some(advice) = &check.advice {
            text.push_str(&format!("\n{} {}: {advice}\n", check.level.name(), check.name));
        }
    }
    let count = |level| checks.iter().filter(|check| check.level == level).count();
    let (bad, warn) = (count(Level::Bad), count(Level::Warn));
    text.push_str(&format!("\n{} ok, {warn} warn, {bad} bad\n", checks.len() - bad - warn));
    text
}

/// The checks as one JSON object.
pub fn to_json(directory: &Path, checks: &[Check]) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "directory": directory.display().to_string(),
        "level": worst(checks),
        "checks": checks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_level_counts() {
        let mut checks = vec![Check::ok("a", "1"), Check::warn("b", "2", "do this")];
        assert_eq!(worst(&checks), Level::Warn);
        checks.push(Check::bad("c", "3", "do that"));
        assert_eq!(worst(&checks), Level::Bad);
        assert_eq!(worst(&[]), Level::Ok);
    }

    #[test]
    fn advice_stands_below_the_table() {
        let checks = [Check::ok("a", "1"), Check::warn("bb", "2", "do this")];
        assert_eq!(
            to_text(Path::new("/d"), &checks),
            "data directory: /d\n\n      CHECK  FOUND\nok    a      1\nwarn  bb     2\n\n\
             warn bb: do this\n\n1 ok, 1 warn, 0 bad\n"
        );
    }
}
