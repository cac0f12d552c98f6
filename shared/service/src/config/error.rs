//! What is wrong with a configuration, all of it at once.
//!
//! Owns the wording of a report: which key, why, and where the value came from. It must never hold a
//! value of a secret key; whoever builds a reason keeps to that. The process that prints it exits 2.

use std::fmt;
use std::path::PathBuf;

/// Most problems reported of one configuration; what lies beyond is left for the next try.
pub(super) const MAX_PROBLEMS: usize = 100;

/// Everything that was found wrong, at least one problem.
///
/// `Display` gives one line for a single problem, else a heading and a line a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

/// One key and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key with dots between its levels; empty when it is about the file as a whole.
    pub key: String,
    /// Why, as a sentence without subject: "must be a whole number from 1 to 64".
    pub reason: String,
    /// Where the value came from.
    pub origin: Origin,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The configuration file.
    File(PathBuf),
    /// An environment variable, by its name as it was spelled.
    Variable(String),
    /// Nowhere: the key was not given.
    NotGiven,
}

impl ConfigError {
    /// `None` when there is no problem.
    pub(super) fn from_problems(mut problems: Vec<Problem>) -> Option<Self> {
        problems.dedup();
        problems.truncate(MAX_PROBLEMS);
        (!problems.is_empty()).then_some(Self { problems })
    }

    /// A single problem.
    pub(super) fn of(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }

    /// The problems, in the order in which they were found.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [problem] => write!(f, "configuration: {problem}"),
            problems => {
                write!(f, "configuration: {} problems", problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{} ({})", self.reason, self.origin)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "from {}", path.display()),
            Self::Variable(name) => write!(f, "from the environment variable {name}"),
            Self::NotGiven => f.write_str("not given"),
        }
    }
}
