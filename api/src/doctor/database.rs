//! The database: the way to it, its version and ours, what we may do there, the CMDB's tables, its clock.

use chrono::{DateTime, TimeDelta, Utc};
use hostsync_shared::config::{Config, place_of};
use hostsync_shared::database::{self, SchemaError};
use hostsync_shared::tables::diagnosis::{self, Right, Server, USES};
use hostsync_shared::tables::server_resources::VALUE_COLUMNS;
use hostsync_shared::tested::Tested;
use sqlx::{Connection as _, MySqlConnection};

use super::{Check, untested, within};

/// Clocks further apart than this are told: windows end by the database's clock, documents carry others.
const CLOCKS_APART: TimeDelta = TimeDelta::seconds(2);

/// What is read and written of the CMDB's tables, besides the values.
const POOL_COLUMNS: [&str; 8] =
    ["id", "host_name", "host_ip", "ram", "disk_size", "is_deleted", "create_time", "update_time"];
const RESOURCE_COLUMNS: [&str; 7] = ["id", "pool_id", "ip", "mon_date", "is_deleted", "create_time", "update_time"];

/// What was found, and the connection for more questions if the schema is there.
pub(super) struct Examined {
    pub(super) checks: Vec<Check>,
    pub(super) connection: Option<MySqlConnection>,
}

pub(super) async fn examine(config: &Config, clock: fn() -> DateTime<Utc>) -> Examined {
    let none = |check| Examined { checks: vec![check], connection: None };
    let url = match config.database.url() {
        Ok(url) => url,
        Err(error) => return none(Check::fail("database", error.to_string(), "set database.url")),
    };
    let place = place_of(url);
    let mut connection = match within(database::connect_once(url.expose())).await {
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
    Examined { checks, connection: has_schema.then_some(connection) }
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
    if has_schema {
        checks.extend(permissions(connection, &server).await?);
        checks.push(cmdb_tables(connection).await?);
    }
    Ok(has_schema)
}

fn connections(server: &Server, wanted: u32) -> Check {
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

/// Tries each right in a transaction that is rolled back, by a statement that meets no row.
async fn permissions(connection: &mut MySqlConnection, server: &Server) -> Result<Vec<Check>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let mut checks = Vec::new();
    for used in USES {
        let mut missing = Vec::new();
        for &right in used.rights {
            if !diagnosis::may(&mut transaction, used, right).await? {
                missing.push(right);
            }
        }
        if !missing.is_empty() {
            checks.push(grant(used.table, &missing, server));
        }
    }
    transaction.rollback().await?;
    if checks.is_empty() {
        checks.push(Check::ok("permissions", format!("{} has all it needs on {} tables", server.user, USES.len())));
    }
    Ok(checks)
}

fn grant(table: &str, missing: &[Right], server: &Server) -> Check {
    let rights: Vec<&str> = missing.iter().map(|right| right.as_str()).collect();
    let rights = rights.join(", ");
    let user =
        server.user.split_once('@').map_or_else(|| format!("'{}'", server.user), |(n, h)| format!("'{n}'@'{h}'"));
    let found = format!("{} may not {rights} on {table}", server.user);
    let next = format!("GRANT {rights} ON {}.{table} TO {user};", server.database);
    if table == "hosts_pool" && missing == [Right::Insert] {
        return Check::warn("permissions", format!("{found}: full sync cannot add hosts"), next);
    }
    Check::fail("permissions", found, next)
}

async fn cmdb_tables(connection: &mut MySqlConnection) -> Result<Check, sqlx::Error> {
    let resources: Vec<&str> = RESOURCE_COLUMNS.into_iter().chain(VALUE_COLUMNS).collect();
    let mut missing = Vec::new();
    for (table, wanted) in [("hosts_pool", POOL_COLUMNS.as_slice()), ("server_resources", resources.as_slice())] {
        let present = diagnosis::columns(connection, table).await?;
        let absent = wanted.iter().filter(|column| !present.iter().any(|name| name == *column));
        missing.extend(absent.map(|column| format!("column {table}.{column}")));
    }
    if !diagnosis::unique_keys(connection, "server_resources").await?.iter().any(|key| key == "ip,mon_date") {
        missing.push("unique key server_resources (ip, mon_date)".to_owned());
    }
    if !missing.is_empty() {
        let next = "these tables are the CMDB's: ask its owner; migrations/0001_cmdb_tables.sql has their form";
        return Ok(Check::fail("cmdb tables", format!("missing: {}", missing.join(", ")), next));
    }
    let hosts = diagnosis::live_hosts(connection).await?;
    if hosts == 0 {
        let next = "fill hosts_pool, or let a full sync add hosts (docs/api.md)";
        return Ok(Check::warn("cmdb tables", "hosts_pool has no live host: runs are empty", next));
    }
    Ok(Check::ok("cmdb tables", format!("{hosts} live hosts; columns and unique key are there")))
}

/// What helps where nobody answers.
const WAY: &str =
    "is the server up, do host and port of database.url lead to it, does a network policy let us through?";

/// A statement that failed.
pub(super) fn failed(check: &str, error: &sqlx::Error) -> Check {
    let next = "look at the server's log; try again";
    Check::fail(check, format!("the database refused a question: {error}"), next)
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
    match (error, database::error_number(error)) {
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
    fn a_grant_names_the_user_as_the_server_does() {
        let server = Server {
            version: "8.4.3".to_owned(),
            user: "hostsync@10.%".to_owned(),
            database: "cmdb".to_owned(),
            connected: 148,
            max_connections: 151,
        };
        let check = grant("es_sync_search", &[Right::Insert, Right::Delete], &server);
        assert_eq!(check.next.as_deref(), Some("GRANT INSERT, DELETE ON cmdb.es_sync_search TO 'hostsync'@'10.%';"));
        assert_eq!(connections(&server, 10).level, crate::doctor::Level::Warn);
        assert_eq!(connections(&server, 3).level, crate::doctor::Level::Ok);
    }
}
