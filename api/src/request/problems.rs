//! Everything that is wrong with a request, so that a caller hears of all of it at once.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most problems reported of one request; the rest is counted.
pub(crate) const MAX_REPORTED: usize = 100;

/// One field and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// The field, with its position where it is a list.
    #[schema(examples("host_ip_list[3]"))]
    pub(crate) field: String,
    /// What is wrong with it, without its name.
    #[schema(examples("\"web-1\" is not an IPv4 or IPv6 address"))]
    pub(crate) message: String,
}

/// A line that is no address, blank or comment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct InvalidLine {
    /// Its number, from 1.
    #[schema(examples(3))]
    pub(crate) line: usize,
    /// What stands there, cut to 100 characters.
    #[schema(examples("web-1"))]
    pub(crate) text: String,
    /// What is wrong with it.
    #[schema(examples("is not an IPv4 or IPv6 address"))]
    pub(crate) reason: String,
}

/// Everything that is wrong with the fields of a request.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    reported: Vec<FieldError>,
    beyond: usize,
}

impl Problems {
    /// Adds one; beyond [`MAX_REPORTED`] it is only counted.
    pub(crate) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        if self.reported.len() < MAX_REPORTED {
            self.reported.push(FieldError { field: field.into(), message: message.into() });
        } else {
            self.beyond += 1;
        }
    }

    /// Adds those of another collection behind its own.
    pub(crate) fn append(&mut self, other: Self) {
        for problem in other.reported {
            self.add(problem.field, problem.message);
        }
        self.beyond += other.beyond;
    }

    /// Whether this very field has one already.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.reported.iter().any(|problem| problem.field == field)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.reported.len() + self.beyond
    }

    pub(crate) fn reported(&self) -> &[FieldError] {
        &self.reported
    }

    /// Those that are reported; the last one says how many more there are.
    pub(crate) fn into_reported(mut self) -> Vec<FieldError> {
        if self.beyond > 0
            && let Some(last) = self.reported.last_mut()
        {
            last.message = format!("{} (and {} more problems that are not listed)", last.message, self.beyond);
        }
        self.reported
    }

    /// # Errors
    ///
    /// There is at least one.
    pub(crate) fn check(self) -> Result<(), Self> {
        if self.reported.is_empty() { Ok(()) } else { Err(self) }
    }

    /// A single one.
    pub(crate) fn of(field: impl Into<String>, message: impl Into<String>) -> Self {
        let mut problems = Self::default();
        problems.add(field, message);
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_problems_told_is_bounded() {
        let mut problems = Problems::default();
        for n in 0..250 {
            problems.add(format!("f[{n}]"), "is bad");
        }
        assert_eq!(problems.count(), 250);
        let reported = problems.into_reported();
        assert_eq!(reported.len(), MAX_REPORTED);
        assert_eq!(reported[99].field, "f[99]");
        assert_eq!(reported[99].message, "is bad (and 150 more problems that are not listed)");
    }
}
