//! The connection pool and the schema's version.
//!
//! Owns how connections are set up (READ COMMITTED, UTC, strict mode, short server-side time-outs). Knows no table:
//! statements stand in [`crate::tables`].

use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use md5::{Digest as _, Md5};
use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::{Connection, MySqlConnection, MySqlPool, Row};

use crate::denied::Denied;
use crate::fault::Fault;

/// All migrations, compiled in.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// Where the migrator keeps what has been applied (sqlx's default name).
const MIGRATIONS_TABLE: &str = "_sqlx_migrations";

/// Longest wait for another process that migrates.
const LOCK_TIMEOUT: Duration = Duration::from_mins(10);

/// The server ends a connection that has been silent for this long, so that a machine that lost its power does not
/// hold row locks for hours.
const SERVER_WAIT_TIMEOUT: Duration = Duration::from_mins(1);

/// Longest wait for a row that another transaction has locked, such as one of the CMDB's; then the transaction is run
/// again.
const LOCK_WAIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The pool closes idle connections before the server does.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a connection is looked at, at most, before it is used again.
const LOOK_PERIOD: Duration = Duration::from_secs(10);

/// Longest use of a connection during which a look that became due is still caught up with.
const LONGEST_SHORT_USE: Duration = Duration::from_millis(200);

/// Longest life of a connection. The pool uses its connections by turns, so that none is ever idle for long, however many
/// there are: after a rush it comes down to what it needs by this.
const LONGEST_LIFE: Duration = Duration::from_mins(2);

/// Longest wait for a free connection before the caller hears that the database is busy or away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Oldest servers that have what the statements need (`SKIP LOCKED`, window over generated columns, `utf8mb4`).
const OLDEST_MYSQL: (u32, u32) = (8, 0);
const OLDEST_MARIADB: (u32, u32) = (10, 6);

/// Why the database cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The schema lacks migrations that this binary needs.
    #[error(
        "the schema of the database is older than this binary needs (missing migration {missing}); run `hostsync-api migrate`"
    )]
    Older {
        /// First missing version.
        missing: i64,
    },
    /// MySQL 5.7, MariaDB 10.5 and older.
    #[error("the database server is {version}; hostsync needs MySQL 8.0 or MariaDB 10.6 or newer")]
    Unsupported {
        /// As the server says it.
        version: String,
    },
    /// The database did not answer, or refused.
    #[error("{}", failed(.0))]
    Database(#[from] sqlx::Error),
    /// Another process holds the migration's lock.
    #[error("another process has been migrating this database for {} min; try again when it is done", LOCK_TIMEOUT.as_secs() / 60)]
    Busy,
    /// A migration failed.
    #[error("a migration failed")]
    Migrate(#[from] MigrateError),
}

/// How a database failed, in a few words before its own.
fn failed(error: &sqlx::Error) -> &'static str {
    match (Denied::of(error), error.as_database_error()) {
        (Some(Denied::Login), _) => "the database does not let its user in",
        (Some(_), _) => "the database user lacks a right",
        (None, Some(_)) => "the database refused",
        (None, None) => "the database did not answer",
    }
}

/// A pool that connects when first used, so that a service starts while the database is down. Every ten seconds a
/// connection is looked at before it is used again: one that is dead, or whose server has become read-only since (a primary
/// that was demoted and lives on), is closed, and another is made by the name, which may lead to the new primary by then. A
/// fresh connection is used wherever it leads, so that reading goes on while there is no primary at all. Once one was found to
/// lead to such a server, every other that was made before is looked at each time, since it probably leads there too.
///
/// # Errors
///
/// `url` is no `mysql://` URL.
pub fn connect_lazy(url: &str, max_connections: u32) -> Result<MySqlPool, sqlx::Error> {
    let options = options(url)?;
    let look: Arc<str> = look_of(options.get_database()).into();
    let demoted_at: Arc<Mutex<Option<Instant>>> = Arc::default();
    Ok(MySqlPoolOptions::new()
        .max_connections(max_connections)
        .idle_timeout(POOL_IDLE_TIMEOUT)
        .max_lifetime(LONGEST_LIFE)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(move |connection, since| {
            let (look, demoted_at) = (Arc::clone(&look), Arc::clone(&demoted_at));
            Box::pin(async move {
                let is_older = locked(&demoted_at).is_some_and(|demoted_at| demoted_at.elapsed() < since.age);
                if !is_older && !is_look_due(since.age, since.idle_for) {
                    return Ok(true);
                }
                let is_usable = leads_to_a_primary(connection, &look).await?;
                if !is_usable {
                    *locked(&demoted_at) = Some(Instant::now());
                }
                Ok(is_usable)
            })
        })
        .after_connect(|connection, _| {
            Box::pin(async move {
                prepare_session(connection).await?;
                bound_waits_for_tables(connection).await
            })
        })
        .connect_lazy_with(options))
}

/// A panic between two lines that hold it leaves it whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has a pool of [`connect_lazy`] make its new connections by another URL, such as one with another password. Those that
/// stand are left as they are.
///
/// # Errors
///
/// `url` is no `mysql://` URL.
pub fn change_url(pool: &MySqlPool, url: &str) -> Result<(), sqlx::Error> {
    pool.set_connect_options(options(url)?);
    Ok(())
}

/// One connection as those of a pool are, made at once: what is wrong on the way is told as it is, where a pool only
/// says that none became free.
///
/// # Errors
///
/// The URL's, the way's, or the server's.
pub async fn connect_once(url: &str) -> Result<MySqlConnection, sqlx::Error> {
    let mut connection = MySqlConnection::connect_with(&options(url)?).await?;
    prepare_session(&mut connection).await?;
    Ok(connection)
}

/// What `url` says, but for the session's time zone and character set: values are written and read in UTC and `utf8mb4`.
fn options(url: &str) -> Result<MySqlConnectOptions, sqlx::Error> {
    Ok(MySqlConnectOptions::from_str(url)?.timezone(Some("+00:00".to_owned())).charset("utf8mb4"))
}

/// READ COMMITTED, else `INSERT … SELECT` locks the CMDB's `hosts_pool`. Strict mode, else a value that does not fit
/// is cut without a word; `SIMULTANEOUS_ASSIGNMENT` (MariaDB) stays off, since counters are assigned left to right.
async fn prepare_session(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
         SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
         wait_timeout = {}, innodb_lock_wait_timeout = {}",
        SERVER_WAIT_TIMEOUT.as_secs(),
        LOCK_WAIT_TIMEOUT.as_secs()
    )))
    .execute(connection)
    .await?;
    Ok(())
}

/// A table may be locked as well as a row (`LOCK TABLES`, an `ALTER`, a backup); the server's own bound is a day or a year.
/// Not for migrations, whose changes wait for the transactions before them.
async fn bound_waits_for_tables(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    let statement = format!("SET SESSION lock_wait_timeout = {}", LOCK_WAIT_TIMEOUT.as_secs());
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}

/// Whether a multiple of the period in a connection's life was reached while it was idle, or in a short use before.
fn is_look_due(age: Duration, idle_for: Duration) -> bool {
    let since_multiple = age.as_nanos() % LOOK_PERIOD.as_nanos();
    age >= LOOK_PERIOD && since_multiple <= (idle_for + LONGEST_SHORT_USE).as_nanos()
}

/// What is asked of a connection before it is used again. `USE` makes the server look at the rights on the database anew:
/// else one that was granted would not count before the connection is closed.
fn look_of(database: Option<&str>) -> String {
    let used = database.map(|name| format!("USE `{}`; ", name.replace('`', "``"))).unwrap_or_default();
    format!("{used}SELECT CAST(@@global.read_only AS CHAR), CAST(@@global.innodb_read_only AS CHAR)")
}

/// Whether the server of this connection takes writes from those who may write, as far as its options say. As text: newer
/// servers know more values than on and off.
async fn leads_to_a_primary(connection: &mut MySqlConnection, look: &str) -> Result<bool, sqlx::Error> {
    let row = sqlx::raw_sql(sqlx::AssertSqlSafe(look.to_owned())).fetch_one(connection).await?;
    let is_off = |value: String| matches!(value.as_str(), "0" | "OFF");
    Ok(is_off(row.try_get(0)?) && is_off(row.try_get(1)?))
}

/// Whether the database takes writes: one that finds no row is tried. A lock in its way is no reason to say no.
pub async fn takes_writes(pool: &MySqlPool) -> Result<(), sqlx::Error> {
    // Every service may update this table; a server that takes no writes refuses before it looks for rows.
    let tried =
        sqlx::query("UPDATE es_sync_execution_log SET waiting_for = waiting_for WHERE id = 0").execute(pool).await;
    match tried {
        Err(error) if Fault::of(&error) != Fault::Conflict => Err(error),
        _ => Ok(()),
    }
}

/// Checks that the server is new enough and the schema has every migration of this binary.
///
/// # Errors
///
/// [`SchemaError::Unsupported`], [`SchemaError::Older`], or the database's own.
pub async fn check(pool: &MySqlPool) -> Result<(), SchemaError> {
    let mut connection = pool.acquire().await?;
    check_version(&mut connection).await.map(|_| ())
}

/// As [`check`], over one connection; returns the newest migration that has been applied, which may be newer than this
/// binary.
///
/// # Errors
///
/// As [`check`].
pub async fn check_version(connection: &mut MySqlConnection) -> Result<i64, SchemaError> {
    check_server(connection).await?;
    let missing_table = sqlx::query_scalar::<_, i64>(
        "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = '_sqlx_migrations'",
    )
    .fetch_one(&mut *connection)
    .await?
        == 0;
    let applied: Vec<i64> = if missing_table {
        Vec::new()
    } else {
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success = TRUE").fetch_all(connection).await?
    };
    match MIGRATOR.iter().find(|migration| !applied.contains(&migration.version)) {
        Some(migration) => Err(SchemaError::Older { missing: migration.version }),
        None => Ok(applied.into_iter().max().unwrap_or_default()),
    }
}

/// The newest migration that this binary knows.
pub fn newest_migration() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// Applies what is missing, under a lock. A migration that a crash cut short is run again from its start:
/// every file is written so that this is harmless (see `migrations/README.md`). A schema newer than this binary is
/// left as it is.
///
/// # Errors
///
/// [`SchemaError::Unsupported`], [`SchemaError::Migrate`], or the database's own.
pub async fn migrate(url: &str) -> Result<(), SchemaError> {
    let mut connection = connect_once(url).await?;
    check_server(&mut connection).await?;
    lock(&mut connection).await?;
    let outcome = async {
        connection.ensure_migrations_table(MIGRATIONS_TABLE).await?;
        sqlx::query("DELETE FROM _sqlx_migrations WHERE success = FALSE").execute(&mut connection).await?;
        let mut migrator = Migrator::with_migrations(MIGRATOR.iter().cloned().collect());
        migrator.set_locking(false).set_ignore_missing(true);
        migrator.run(&mut connection).await?;
        Ok(())
    }
    .await;
    // The server releases the lock with the connection, also when this process dies.
    connection.close().await?;
    outcome
}

/// One migration at a time in a database. The migrator's own lock waits with a time-out of -1, which MariaDB refuses with
/// a mere warning, so that several would migrate at once.
async fn lock(connection: &mut MySqlConnection) -> Result<(), SchemaError> {
    // None chosen: the first migration says so.
    let database: Option<String> = sqlx::query_scalar("SELECT DATABASE()").fetch_one(&mut *connection).await?;
    let locked: Option<i64> = sqlx::query_scalar("SELECT GET_LOCK(?, ?)")
        .bind(lock_name(&database.unwrap_or_default()))
        .bind(LOCK_TIMEOUT.as_secs())
        .fetch_one(connection)
        .await?;
    if locked == Some(1) { Ok(()) } else { Err(SchemaError::Busy) }
}

/// A lock's name has at most 64 characters, as a database's has: hence its digest. Every release takes the same name, so that
/// two of them do not migrate at once. Not in SQL: MySQL 9 has no `MD5()`.
fn lock_name(database: &str) -> String {
    let digest = <[u8; 16]>::from(Md5::digest(database));
    format!("hostsync.migrate.{:032x}", u128::from_be_bytes(digest))
}

async fn check_server(connection: &mut MySqlConnection) -> Result<(), SchemaError> {
    let version: String = sqlx::query_scalar("SELECT VERSION()").fetch_one(connection).await?;
    if is_supported(&version) { Ok(()) } else { Err(SchemaError::Unsupported { version }) }
}

/// Whether the server says that it is a MariaDB.
pub fn is_mariadb(version: &str) -> bool {
    version.to_ascii_lowercase().contains("mariadb")
}

/// Major and minor. Some MariaDB builds answer `5.5.5-10.11.6-MariaDB`.
pub fn release(version: &str) -> Option<(u32, u32)> {
    let version = version.strip_prefix("5.5.5-").unwrap_or(version);
    let mut parts = version.split(['.', '-']).map_while(|part| part.parse().ok());
    Some((parts.next()?, parts.next()?))
}

fn is_supported(version: &str) -> bool {
    let oldest = if is_mariadb(version) { OLDEST_MARIADB } else { OLDEST_MYSQL };
    release(version).is_some_and(|release| release >= oldest)
}

/// The database's UTC clock, to the millisecond: the only clock that decides what is due and when a lease ends.
pub async fn now(connection: &mut MySqlConnection) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar("SELECT UTC_TIMESTAMP(3)").fetch_one(connection).await
}

/// Bounds work in the database, which may hang where it is not told that the server is gone.
///
/// # Errors
///
/// The work's; after `longest`, what a pool without a free connection says ([`Fault::ConnectionLost`]).
pub async fn within<T>(
    longest: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(longest, work).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{is_look_due, is_supported, lock_name};

    #[test]
    fn a_connection_is_looked_at_once_in_ten_seconds_however_often_it_is_used() {
        // Idle and used for so many ms, again and again for two minutes; the first ten seconds need no look.
        let looks = |pause: u64, used: u64| {
            let next = |at: &u64| Some(at + pause + used);
            let taken = std::iter::successors(Some(pause), next).take_while(|at| *at < 120_000);
            let is_due = |at: &u64| is_look_due(Duration::from_millis(*at), Duration::from_millis(pause));
            taken.filter(is_due).count()
        };
        assert_eq!(looks(11_000, 10), 10, "each time: none came sooner");
        for (pause, used) in [(1_000, 10), (400, 100), (10, 190)] {
            assert!((11..=22).contains(&looks(pause, used)), "{} looks", looks(pause, used));
        }
        assert!(looks(1, 1_999) >= 2, "a long use hides a multiple, not all of them");
    }

    #[test]
    fn a_release_waits_for_the_migration_of_the_one_before_it() {
        // SELECT CONCAT('hostsync.migrate.', MD5('host_sync-数据'))
        assert_eq!(lock_name("host_sync-数据"), "hostsync.migrate.920b40f346b9a3cfe809e98bc9dbc8f5");
    }

    #[test]
    fn old_servers_are_refused() {
        for version in
            ["8.0.15", "8.4.3", "9.7.4", "10.11.11-MariaDB-0+deb12u1", "5.5.5-10.6.18-MariaDB", "11.8.6-MariaDB"]
        {
            assert!(is_supported(version), "{version}");
        }
        for version in ["5.7.44-log", "5.6.51", "10.5.28-MariaDB", "5.5.5-10.3.39-MariaDB", "unknown"] {
            assert!(!is_supported(version), "{version}");
        }
    }
}
