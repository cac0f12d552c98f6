//! What the database says when it lets us in no further: a login that it does not take, a right that its user lacks. Pure.
//!
//! Owns telling these from a database that is away: they do not pass by themselves. What is told of one names the right
//! and the table, never a statement.

use std::error::Error;
use std::fmt;

use crate::fault::{Fault, StatementRefusal, error_number};

/// The numbers whose sentences are read.
const DATABASE_DENIED: u16 = 1044;
const UNKNOWN_DATABASE: u16 = 1049;
const TABLE_DENIED: [u16; 2] = [1142, 1143];

/// Rights that the three services need on the tables of their database, as `GRANT` says them.
pub const RIGHTS_OF_SERVICES: &str = "SELECT, INSERT, UPDATE, DELETE";

/// Rights that migrations need beside those.
pub const RIGHTS_OF_MIGRATIONS: &str = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, REFERENCES";

/// A refusal for want of a right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// The login: the user, its password, the host it comes from, a locked account.
    Login,
    /// The database as a whole.
    Database {
        /// Its name.
        database: String,
        /// The account as the server knows it, such as `hostsync@%`.
        account: String,
    },
    /// Something on a table or one of its columns.
    Table {
        /// What, such as `INSERT`.
        right: String,
        /// The table, and the column where one is meant.
        table: String,
    },
    /// Anything else, as the server says it.
    Other(String),
}

impl Denied {
    /// What an error of the server says of a right; `None`: it is about something else.
    pub fn of(error: &sqlx::Error) -> Option<Self> {
        Self::told(error_number(error)?, error.as_database_error()?.message())
    }

    /// By the server's number and sentence (MySQL and MariaDB reference manuals, "Error Message Reference").
    fn told(number: u16, sentence: &str) -> Option<Self> {
        let other = || Self::Other(sentence.to_owned());
        match Fault::of_number(number) {
            // the name in the URL, not the login
            Fault::Refused(StatementRefusal::Login) if number == UNKNOWN_DATABASE => Some(other()),
            Fault::Refused(StatementRefusal::Login) => Some(Self::Login),
            Fault::Refused(StatementRefusal::Right) => Some(
                Self::of_database(number, sentence)
                    .unwrap_or_else(|| Self::of_table(number, sentence).unwrap_or_else(other)),
            ),
            _ => None,
        }
    }

    fn of_database(number: u16, sentence: &str) -> Option<Self> {
        let names = (number == DATABASE_DENIED).then(|| quoted(sentence))?;
        let [user, host, database] = names.as_slice() else { return None };
        Some(Self::Database { database: database.clone(), account: format!("{user}@{host}") })
    }

    /// The right stands before "command denied", the object behind the account.
    fn of_table(number: u16, sentence: &str) -> Option<Self> {
        let (right, rest) = sentence.split_once(" command denied").filter(|_| TABLE_DENIED.contains(&number))?;
        let (_, object) = rest.split_once(" for ")?;
        let names = quoted(object);
        let table = match names.as_slice() {
            [column, .., table] if object.starts_with("column") => format!("{table}.{column}"),
            names => names.last()?.clone(),
        };
        Some(Self::Table { right: right.to_owned(), table })
    }

    /// As [`Self::of`], of an error that may have others before it, such as that of a migration.
    pub fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        std::iter::successors(Some(error), |&error| error.source())
            .filter_map(|cause| cause.downcast_ref::<sqlx::Error>())
            .find_map(Self::of)
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Login => f.write_str("the database does not let its user in: the user, the password or the host"),
            Self::Database { database, account } => write!(f, "the user {account} may not use the database {database}"),
            Self::Table { right, table } => write!(f, "the database user may not {right} on {table}"),
            Self::Other(told) => f.write_str(told),
        }
    }
}

/// The line that gives rights on a whole database. `account` as the server says it: `hostsync@%`.
pub fn grant(rights: &str, database: &str, account: &str) -> String {
    let quoted = |text: &str, quote: char| format!("{quote}{}{quote}", text.replace(quote, &format!("{quote}{quote}")));
    // A user may have an @ in its name, a host has none.
    let (user, host) = account.rsplit_once('@').unwrap_or((account, "%"));
    format!("GRANT {rights} ON {}.* TO {}@{};", quoted(database, '`'), quoted(user, '\''), quoted(host, '\''))
}

/// The names in quotes of a server's sentence.
fn quoted(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(['\'', '`', '"']) {
        let quote = rest[start..].chars().next().unwrap_or('\'');
        let behind = &rest[start + 1..];
        let Some(end) = behind.find(quote) else { break };
        names.push(behind[..end].to_owned());
        rest = &behind[end + 1..];
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_right_and_the_table_as_each_server_says_them() {
        for (number, sentence, told) in [
            (
                1142,
                "INSERT command denied to user 'u'@'10.0.0.9' for table 'es_sync_search'",
                "INSERT on es_sync_search",
            ),
            (
                1142,
                "DELETE command denied to user 'u'@'h' for table `cmdb`.`es_sync_search`",
                "DELETE on es_sync_search",
            ),
            (
                1143,
                "SELECT command denied to user 'u'@'h' for column 'ram' in table 'hosts_pool'",
                "SELECT on hosts_pool.ram",
            ),
            (1142, "SELECT, INSERT command denied to user ''@'h' for table 't'", "SELECT, INSERT on t"),
            (1044, "Access denied for user 'u'@'%' to database 'cmdb'", "u@% may not use the database cmdb"),
            (1045, "Access denied for user 'u'@'h' (using password: YES)", "does not let its user in"),
            (1227, "Access denied; you need (at least one of) the SUPER privilege(s)", "the SUPER privilege"),
        ] {
            let denied = Denied::told(number, sentence).expect(sentence).to_string();
            assert!(denied.contains(told), "{denied}");
        }
        for number in [1040, 1054, 1205, 1290, 1364] {
            assert_eq!(Denied::told(number, "Too many connections"), None, "{number}");
        }
        // A sentence of another form, such as that of a proxy, is told as it is.
        for (number, sentence) in [(1142, "denied"), (1044, "no"), (1049, "Unknown database 'x'")] {
            assert_eq!(Denied::told(number, sentence), Some(Denied::Other(sentence.to_owned())));
        }
    }

    #[test]
    fn a_grant_quotes_what_must_be() {
        let line = grant("SELECT, INSERT", "cmdb-1", "host'sync@10.%");
        assert_eq!(line, "GRANT SELECT, INSERT ON `cmdb-1`.* TO 'host''sync'@'10.%';");
    }
}
