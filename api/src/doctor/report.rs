//! What was found, for people and for machines. Pure.

use std::fmt;

use serde::Serialize;

/// Width of the column of names.
const NAME_WIDTH: usize = 16;

/// How it stands with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// hostsync works, but somebody should look.
    Warn,
    /// Something does not work.
    Fail,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub check: String,
    /// How it stands.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do about it: a command or a key of the configuration. Of a good one nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Check {
    pub(super) fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self { check: check.into(), level: Level::Ok, found: found.into(), next: None }
    }

    pub(super) fn warn(check: impl Into<String>, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { level: Level::Warn, next: Some(next.into()), ..Self::ok(check, found) }
    }

    pub(super) fn fail(check: impl Into<String>, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { level: Level::Fail, next: Some(next.into()), ..Self::ok(check, found) }
    }
}

/// Every line, in the order in which a person reads them. `Display` is the screenful.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    checks: Vec<Check>,
}

impl Report {
    pub(super) fn extend(&mut self, checks: impl IntoIterator<Item = Check>) {
        self.checks.extend(checks);
    }

    /// The lines.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Whether nothing fails; a warning may stand.
    pub fn is_well(&self) -> bool {
        self.count(Level::Fail) == 0
    }

    /// For machines: `{"well": …, "checks": [{"check", "level", "found", "next"}]}`.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({"well": self.is_well(), "checks": self.checks})
    }

    fn count(&self, level: Level) -> usize {
        self.checks.iter().filter(|check| check.level == level).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Check { check, level, found, next } in &self.checks {
            let level = match level {
                Level::Ok => "ok",
                Level::Warn => "warn",
                Level::Fail => "FAIL",
            };
            writeln!(f, "{level:<4}  {check:<NAME_WIDTH$}  {found}")?;
            if let Some(next) = next {
                writeln!(f, "{:indent$}→ {next}", "", indent = 4 + 2 + NAME_WIDTH + 2)?;
            }
        }
        let (failed, warned) = (self.count(Level::Fail), self.count(Level::Warn));
        write!(f, "{} checks: {failed} FAIL, {warned} warn", self.checks.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_is_followed_by_what_to_do() {
        let mut report = Report::default();
        report.extend([Check::ok("clock", "4 ms apart")]);
        assert!(report.is_well());
        report.extend([Check::warn("hosts", "none", "fill it"), Check::fail("schema", "too old", "migrate")]);
        assert!(!report.is_well());
        assert_eq!(
            report.to_string(),
            "ok    clock             4 ms apart\n\
             warn  hosts             none\n                        → fill it\n\
             FAIL  schema            too old\n                        → migrate\n\
             3 checks: 1 FAIL, 1 warn"
        );
        assert_eq!(report.json()["checks"][2]["level"], "fail");
        assert_eq!(report.json()["checks"][0].get("next"), None);
    }
}
