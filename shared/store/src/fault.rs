//! What an error of the database means for the caller, and what of it is told. Pure.
//!
//! Owns the numbers of the servers: each error is in one class, by which a caller waits, tries again or gives up.

/// What a failed statement means. Every error is in exactly one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No whole answer, or a server that is full of connections, starting or stopping: on another connection, later.
    ConnectionLost,
    /// Something stands in the way that passes: another transaction, a lock, a full disk, a statement that was killed. The
    /// transaction is run again after a pause, a bounded number of times; then it counts as refused.
    Conflict,
    /// The server takes no writes: it was demoted, so this connection leads to the wrong one. It is closed before it is
    /// used again (see [`crate::database::connect_lazy`]).
    ReadOnly,
    /// The server understood and says no: the same statement fails again. Also whatever nobody thought of.
    Refused(StatementRefusal),
}

/// What the server says no to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementRefusal {
    /// A unique key is in the way.
    Duplicate,
    /// The user may not log in: password, host, account, database.
    Login,
    /// The user lacks a right; the server's sentence names it and what it is on.
    Right,
    /// The statement, its values, or the schema.
    Statement,
}

impl Fault {
    /// Classes an error by the server's error number (MySQL and MariaDB reference manuals, "Server Error Message Reference" and
    /// "MariaDB Error Code Reference"). What stands in no list is refused.
    pub fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(_) => Self::of_number(error_number(error).unwrap_or_default()),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::ConnectionLost,
            sqlx::Error::Configuration(_) => Self::Refused(StatementRefusal::Login),
            _ => Self::Refused(StatementRefusal::Statement),
        }
    }

    /// By the server's number alone.
    pub(crate) fn of_number(number: u16) -> Self {
        match number {
            // Too many connections (of all, of a user, of an hour), no thread, bad handshake, host blocked after errors, shutdown,
            // network, connection aborted or killed, server offline or not available, idle for too long; 2000 to 2999 are a client's.
            1040
            | 1042
            | 1043
            | 1053
            | 1077..=1081
            | 1129
            | 1135
            | 1152
            | 1156..=1161
            | 1184
            | 1203
            | 1226
            | 1927
            | 2000..=2999
            | 3032
            | 3168
            | 3169
            | 4031 => Self::ConnectionLost,
            // Lock wait time-out, deadlock, row or table changed since it was read, too many locks or transactions, NOWAIT, rolled
            // back by certification, must be prepared again, aborted lock; disk or table full, storage engine, out of memory, too
            // many prepared statements; query killed or out of its time.
            1020 | 1021 | 1030 | 1037 | 1038 | 1041 | 1114 | 1197 | 1205 | 1206 | 1213 | 1317 | 1412 | 1461 | 1614
            | 1615 | 1637 | 1689 | 1969 | 3024 | 3058 | 3101 | 3572 => Self::Conflict,
            // The option read-only and its kind, a read-only transaction or mode, a member of a group or a node of a cluster that is
            // not part of it (any more).
            1047 | 1290 | 1792 | 1836 | 3100 => Self::ReadOnly,
            1022 | 1062 | 1169 | 1586 => Self::Refused(StatementRefusal::Duplicate),
            // Access denied, unknown database, host not allowed, password expired, plugin, account locked, TLS wanted.
            1045 | 1049 | 1130 | 1251 | 1275 | 1524 | 1698 | 1820 | 1862 | 3118 | 3159 | 3955 | 4151 => {
                Self::Refused(StatementRefusal::Login)
            }
            // On a database, a table, a column, a global right, a routine, a view's.
            1044 | 1142 | 1143 | 1227 | 1345 | 1356 | 1370 => Self::Refused(StatementRefusal::Right),
            _ => Self::Refused(StatementRefusal::Statement),
        }
    }

    /// Whether any other statement would fail as well, since the server does not let us work: the database is away.
    pub fn is_outage(self) -> bool {
        matches!(self, Self::ConnectionLost | Self::ReadOnly | Self::Refused(StatementRefusal::Login))
    }
}

/// The server's own number of an error, if the server refused (MySQL reference manual, "Server Error Message Reference").
pub fn error_number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()?;
    Some(error.number())
}

/// What the server said, with its number; of any other error, what it says itself. For people: it names the column, the
/// table or the right, and holds no value that we bound.
pub fn sentence(error: &sqlx::Error) -> String {
    match (error.as_database_error(), error_number(error)) {
        (Some(said), Some(number)) => format!("{} (error {number})", said.message()),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_nobody_thought_of_is_refused() {
        for number in [0, 1048, 1064, 1364, 1366, 1406, 1526, 1644, 3001, 3819, 5678, 65_535] {
            assert_eq!(Fault::of_number(number), Fault::Refused(StatementRefusal::Statement), "{number}");
        }
    }

    #[test]
    fn a_missing_right_and_a_login_are_refused_and_no_outage_but_for_the_login() {
        for number in [1044, 1142, 1143, 1227, 1370] {
            assert_eq!(Fault::of_number(number), Fault::Refused(StatementRefusal::Right), "{number}");
            assert!(!Fault::of_number(number).is_outage());
        }
        assert_eq!(Fault::of_number(1045), Fault::Refused(StatementRefusal::Login));
        assert!(Fault::of_number(1045).is_outage());
    }

    #[test]
    fn a_server_that_was_demoted_is_known_by_its_refusal() {
        for number in [1290, 1792, 1836, 3100] {
            assert_eq!(Fault::of_number(number), Fault::ReadOnly, "{number}");
        }
    }
}
