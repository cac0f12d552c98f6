//! The database: the way to it, its version and ours, what we may do there, the CMDB's tables, its clock.

use chrono::{DateTime, TimeDelta, Utc};
use hostsync_service::config::{Config, place_of};
use hostsync_service::tested::Tested;
use hostsync_store::database::{self, SchemaError};
use hostsync_store::denied::{Denied, RIGHTS_OF_SERVICES, grant};
use hostsync_store::fault;
use hostsync_store::tables::diagnosis::{self, DatabaseServer, Right, RightCheck, USES};
use hostsync_store::tables::schema::{self, OurTables};
use secrecy::ExposeSecret as _;
use sqlx::{Connection as _, MySqlConnection};

use super::tables::{self, Standing};
use super::{Check, untested, within};

/// Clocks further apart than this are told: windows end by the database's clock, documents carry others.
const CLOCKS_APART: TimeDelta = TimeDelta::seconds(2);

/// What was found, and the connection for more questions if the schema is there.
pub(super) struct DatabaseExamination {
    pub(super) checks: Vec<Check>,
    pub(super) connection: Option<MySqlConnection>,
}

pub(super) async fn examine(config: &Config, clock: fn() -> DateTime<Utc>) -> DatabaseExamination {
    let none = |check| DatabaseExamination { checks: vec![check], connection: None };
    let url = match config.database.url() {
        Ok(url) => url,
        Err(error) => return none(Check::fail("database", error.to_string(), "set database.url")),
    };
    let place = place_of(&url);
    let mut connection = match within(database::connect_once(url.expose_secret())).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            let (reason, next) = unreachable(&error);
            return none(Check::fail("database", format!("{place}: {reason}"), next));
        }
        Err(reason) => return none(Check::fail("database", format!("{place}: {reason}"), WAY)),
    };
    let mut checks = Vec::new();
    let asked = within(ask(&mut connection, config, &place, clock, &mut checks)).await;
    let has_schema = match asked {
        Ok(Ok(has_schema)) => has_schema,
        Ok(Err(error)) => {
            checks.push(failed("database", &error));
            false
        }
        Err(reason) => {
            checks.push(Check::fail("database", format!("{place}: {reason}"), "SHOW PROCESSLIST on the server"));
            false
        }
    };
    DatabaseExamination { checks, connection: has_schema.then_some(connection) }
}

/// Whether the schema is there.
async fn ask(
    connection: &mut MySqlConnection,
    config: &Config,
    place: &str,
    clock: fn() -> DateTime<Utc>,
    checks: &mut Vec<Check>,
) -> Result<bool, sqlx::Error> {
    let server = diagnosis::server(connection).await?;
    let tested = Tested::database(&server.version);
    checks.push(Check::ok("database", format!("{place}, {} (tested: {tested})", server.version)));
    checks.extend(untested("database", tested, &server.version));
    checks.push(connections(&server, config.database.max_connections));
    checks.push(clocks(connection, clock).await?);
    let has_schema = match database::check_version(connection).await {
        Ok(newest) if newest > database::newest_migration() => {
            let ours = database::newest_migration();
            let next = "fine while a release is rolled out or back; else run the newer image";
            checks.push(Check::warn("schema", format!("migration {newest}, newer than this binary ({ours})"), next));
            true
        }
        Ok(newest) => {
            checks.push(Check::ok("schema", format!("migration {newest}, as this binary needs")));
            true
        }
        Err(SchemaError::Database(error)) => {
            checks.push(failed("schema", &error));
            false
        }
        Err(SchemaError::Older { missing }) => {
            let found = format!("older than this binary needs: migration {missing} is missing");
            checks.push(Check::fail("schema", found, "hostsync-api migrate (in the chart: migration.enabled)"));
            false
        }
        Err(error) => {
            checks.push(Check::fail("schema", error.to_string(), "use a newer server"));
            false
        }
    };
    if !has_schema {
        return Ok(false);
    }
    let ours = schema::tables();
    let lacking = lacking(connection, &ours).await?;
    checks.push(judge_permissions(&lacking, &server));
    if lacking.denied.iter().any(|(right, _)| *right == Right::Select) {
        // What may not be looked at cannot be judged: it would seem to be missing.
        return Ok(false);
    }
    let our_tables = our_tables(connection, &ours).await?;
    let are_ours_sound = our_tables.is_none();
    checks.extend(our_tables);
    checks.push(cmdb_tables(connection).await?);
    Ok(are_ours_sound)
}

fn connections(server: &DatabaseServer, wanted: u32) -> Check {
    let found = format!("{} of {} in use", server.connected, server.max_connections);
    if server.max_connections - server.connected < i64::from(wanted) {
        let next = format!(
            "raise max_connections of the server, or lower database.max_connections ({wanted}) or the number of workers"
        );
        return Check::warn("connections", format!("{found}, too few are left for one more process"), next);
    }
    Check::ok("connections", found)
}

async fn clocks(connection: &mut MySqlConnection, clock: fn() -> DateTime<Utc>) -> Result<Check, sqlx::Error> {
    let before = clock();
    let theirs = database::now(connection).await?;
    let half_way = before + (clock() - before) / 2;
    let apart = theirs - half_way;
    let found = format!("the database's is {} ms from this machine's", apart.num_milliseconds());
    if apart.abs() > CLOCKS_APART {
        return Ok(Check::warn("clock", found, "let both follow NTP: windows end by the database's clock"));
    }
    Ok(Check::ok("clock", found))
}

/// What we need to do with tables and may not.
#[derive(Debug, Default)]
struct Lacking {
    /// For want of a right.
    denied: Vec<(Right, &'static str)>,
    /// For another reason, in the server's words.
    refused: Vec<(Right, &'static str, String)>,
}

/// What a full sync alone needs.
const ADD_HOSTS: (Right, &str) = (Right::Insert, "hosts_pool");

/// Tries each right in a transaction that is rolled back, by a statement that meets no row.
async fn lacking(connection: &mut MySqlConnection, ours: &OurTables) -> Result<Lacking, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let mut lacking = Lacking::default();
    for used in USES {
        for &right in used.rights {
            match diagnosis::may(&mut transaction, *used, right, ours).await? {
                RightCheck::Allowed => {}
                RightCheck::Denied => lacking.denied.push((right, used.table)),
                RightCheck::Refused(reason) => lacking.refused.push((right, used.table, reason)),
            }
        }
    }
    transaction.rollback().await?;
    Ok(lacking)
}

fn judge_permissions(Lacking { denied, refused }: &Lacking, server: &DatabaseServer) -> Check {
    const CHECK: &str = "permissions";
    if denied.is_empty() && refused.is_empty() {
        return Check::ok(CHECK, format!("{} has all it needs on {} tables", server.user, USES.len()));
    }
    let (mut found, mut next) = (Vec::new(), "is this the primary, and is it a table, no view?".to_owned());
    if !denied.is_empty() {
        found.push(format!("{} may not {}", server.user, by_right(denied)));
        next = grant(RIGHTS_OF_SERVICES, &server.database, &server.user);
    }
    found.extend(refused.iter().map(|(right, table, reason)| format!("{} on {table}: {reason}", right.as_str())));
    let found = found.join("; ");
    let mut all = denied.iter().copied().chain(refused.iter().map(|(right, table, _)| (*right, *table)));
    if all.all(|lacking| lacking == ADD_HOSTS) {
        return Check::warn(CHECK, format!("{found}: full sync cannot add hosts"), next);
    }
    Check::fail(CHECK, found, next)
}

/// `INSERT on a, b; DELETE on b`.
fn by_right(denied: &[(Right, &str)]) -> String {
    let of_right = |right: Right| {
        let tables: Vec<&str> = denied.iter().filter(|(other, _)| *other == right).map(|(_, table)| *table).collect();
        (!tables.is_empty()).then(|| format!("{} on {}", right.as_str(), tables.join(", ")))
    };
    let rights = [Right::Select, Right::Insert, Right::Update, Right::Delete];
    rights.into_iter().filter_map(of_right).collect::<Vec<_>>().join("; ")
}

/// What is wrong with the tables that the migrations made; `None`: nothing.
async fn our_tables(connection: &mut MySqlConnection, ours: &OurTables) -> Result<Option<Check>, sqlx::Error> {
    let mut faults = Vec::new();
    for (name, wanted) in ours.iter().filter(|(name, _)| name.starts_with("es_sync_")) {
        faults.extend(tables::ours(name, wanted, &diagnosis::columns(connection, name).await?).faults);
    }
    let next = "a migration that is named can run again: DELETE FROM _sqlx_migrations WHERE version >= <its number>, then \
                hostsync-api migrate; give a column of your own a default";
    Ok((!faults.is_empty()).then(|| Check::fail("our tables", faults.join("; "), next)))
}

async fn cmdb_tables(connection: &mut MySqlConnection) -> Result<Check, sqlx::Error> {
    const CHECK: &str = "cmdb tables";
    let pool = tables::pool(&standing(connection, "hosts_pool").await?);
    let resources = tables::resources(&standing(connection, "server_resources").await?);
    let faults = [pool.faults, resources.faults].concat();
    let doubts = [pool.doubts, resources.doubts].concat();
    let next = "these tables are the CMDB's: ask its owner; migrations/0001_cmdb_tables.sql has their form";
    if !faults.is_empty() {
        return Ok(Check::fail(CHECK, [faults, doubts].concat().join("; "), next));
    }
    let hosts = diagnosis::live_hosts(connection).await?;
    if hosts == 0 {
        let next = "fill hosts_pool, or let a full sync add hosts (docs/api.md)";
        return Ok(Check::warn(CHECK, "hosts_pool has no live host: runs are empty", next));
    }
    if !doubts.is_empty() {
        return Ok(Check::warn(CHECK, doubts.join("; "), next));
    }
    Ok(Check::ok(CHECK, format!("{hosts} live hosts; columns, types, defaults and keys are as they should be")))
}

async fn standing(connection: &mut MySqlConnection, table: &str) -> Result<Standing, sqlx::Error> {
    Ok(Standing {
        columns: diagnosis::columns(connection, table).await?,
        unique_keys: diagnosis::unique_keys(connection, table).await?,
        engine: diagnosis::engine(connection, table).await?,
    })
}

/// What helps where nobody answers.
const WAY: &str = "is the server up (systemctl status mariadb, or mysql), do host and port of database.url lead to it, does a firewall or a \
     network policy let us through?";

/// A statement that failed: the server's own words, and for want of a right that it is one.
pub(super) fn failed(check: &str, error: &sqlx::Error) -> Check {
    match (Denied::of(error), error.as_database_error()) {
        (Some(denied), _) => Check::fail(check, denied.to_string(), "mend what `permissions` says"),
        (None, Some(told)) => {
            Check::fail(check, format!("the database refused a question: {}", told.message()), "see the server's log")
        }
        (None, None) => Check::fail(check, format!("the connection broke: {error}"), WAY),
    }
}

/// Why no connection came about, and what to do (MySQL reference manual, "Server Error Message Reference").
fn unreachable(error: &sqlx::Error) -> (String, &'static str) {
    // Without TLS caching_sha2_password and sha256_password need RSA, which is not built in; the client says so. MySQL
    // asks for it whenever it does not know the password from before, and for users that do not exist.
    if matches!(error, sqlx::Error::Configuration(cause) if cause.to_string().contains("RSA")) {
        let reason = "the server asks by caching_sha2_password, which needs TLS; or there is no such user".to_owned();
        return (
            reason,
            "?ssl-mode=REQUIRED in database.url, or, up to MySQL 8.4, mysql_native_password for the user; and check user and password",
        );
    }
    match (error, fault::error_number(error)) {
        (_, Some(1044)) => (plain(error), "GRANT SELECT, INSERT, UPDATE, DELETE ON <database>.* TO <user>;"),
        (_, Some(1045 | 1698)) => {
            (plain(error), "correct user and password in database.url, or the user's plugin and host")
        }
        (_, Some(1049)) => (plain(error), "correct the name at the end of database.url, or CREATE DATABASE"),
        (_, Some(1040 | 1203 | 1226)) => (plain(error), "raise max_connections of the server, or run fewer processes"),
        (_, Some(1129 | 1130)) => (
            plain(error),
            "FLUSH HOSTS (where it is unknown: TRUNCATE TABLE performance_schema.host_cache), and let the user in from this \
             host ('hostsync'@'%')",
        ),
        (_, Some(3159)) => (plain(error), "the server wants TLS: ?ssl-mode=REQUIRED in database.url"),
        (_, Some(_)) => (plain(error), "see the server's log"),
        (sqlx::Error::Tls(cause), _) => (
            format!("the TLS handshake failed: {cause}"),
            "?ssl-mode= and ?ssl-ca= in database.url; the server's certificate",
        ),
        (sqlx::Error::Io(cause), _) => (format!("cannot connect: {cause}"), WAY),
        (sqlx::Error::Configuration(cause), _) => (cause.to_string(), "correct database.url"),
        (error, None) => (
            format!("does not speak as a database does: {error}"),
            "is it MySQL or MariaDB? A user with another authentication plugin than mysql_native_password needs TLS",
        ),
    }
}

/// The server's sentence without the wrapping.
fn plain(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::doctor::Level;

    #[test]
    fn what_stands_between_us_and_the_server_is_told_apart() {
        let of = |error| unreachable(&error);
        let (reason, next) = of(sqlx::Error::Configuration("RSA auth backend disabled; use TLS.".into()));
        assert!(reason.contains("caching_sha2_password") && next.contains("ssl-mode=REQUIRED"), "{reason} {next}");
        let (reason, next) = of(sqlx::Error::Tls("invalid peer certificate".into()));
        assert!(reason.contains("invalid peer certificate") && next.contains("ssl-ca"), "{reason} {next}");
        let (reason, next) = of(sqlx::Error::Io(io::Error::from(io::ErrorKind::ConnectionRefused)));
        assert_eq!((reason.as_str(), next), ("cannot connect: connection refused", WAY));
        let (reason, _) = of(sqlx::Error::Protocol("unexpected packet".into()));
        assert!(reason.starts_with("does not speak as a database does"), "{reason}");
    }

    #[test]
    fn what_is_missing_is_named_and_one_grant_gives_it() {
        let server = DatabaseServer {
            version: "8.4.3".to_owned(),
            user: "hostsync@10.%".to_owned(),
            database: "cmdb".to_owned(),
            connected: 148,
            max_connections: 151,
        };
        let denied =
            vec![(Right::Insert, "es_sync_search"), (Right::Insert, "hosts_pool"), (Right::Delete, "es_sync_search")];
        let check = judge_permissions(&Lacking { denied, refused: Vec::new() }, &server);
        assert_eq!(check.found, "hostsync@10.% may not INSERT on es_sync_search, hosts_pool; DELETE on es_sync_search");
        let line = "GRANT SELECT, INSERT, UPDATE, DELETE ON `cmdb`.* TO 'hostsync'@'10.%';";
        assert_eq!((check.level, check.next.as_deref()), (Level::Fail, Some(line)));
        // A pool that is a view which takes no rows can be read, and that is all that most runs need.
        let reason = "The target table hosts_pool of the INSERT is not insertable-into".to_owned();
        let refused = vec![(ADD_HOSTS.0, ADD_HOSTS.1, reason)];
        let check = judge_permissions(&Lacking { denied: Vec::new(), refused }, &server);
        assert_eq!(check.level, Level::Warn);
        assert!(check.found.ends_with("is not insertable-into: full sync cannot add hosts"), "{}", check.found);
        assert_eq!(connections(&server, 10).level, Level::Warn);
        assert_eq!(connections(&server, 3).level, Level::Ok);
    }
}
