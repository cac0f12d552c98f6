//! A MariaDB of a test's own, for states that the shared servers must never be in, such as read-only.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, MySqlPool};
use tokio::process::{Child, Command};

use crate::client::wait_for;
use crate::ports::free_port;

/// Longest start: a fresh data directory, on a machine that is busy.
const START: Duration = Duration::from_mins(2);

/// A server with its data in a temporary directory; both are gone when it is dropped.
pub struct OwnMariadb {
    /// As an administrator, whom read-only does not stop.
    pub admin: MySqlPool,
    /// `host:port`.
    pub address: String,
    _server: Child,
    _data: tempfile::TempDir,
}

impl OwnMariadb {
    /// Starts a server with this database, and a user `root` without a password who may do all but write while it is
    /// read-only.
    ///
    /// # Errors
    ///
    /// `mariadbd` is not installed, or does not start.
    pub async fn start(database: &str) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let datadir = format!("--datadir={}", data.path().display());
        let installed = command("mariadb-install-db", data.path())?
            .args(["--auth-root-authentication-method=normal", "--skip-test-db", &datadir])
            .stdout(Stdio::null())
            .status()
            .await
            .context("mariadb-install-db")?;
        anyhow::ensure!(installed.success(), "mariadb-install-db failed");
        let port = free_port()?;
        let file = |option: &str, name: &str| format!("--{option}={}", data.path().join(name).display());
        let server = command("mariadbd", data.path())?
            // Not the machine's: a server that starts empties it of the temporary tables of all others.
            .arg(file("tmpdir", ""))
            .args([datadir.as_str(), &file("socket", "socket"), &file("pid-file", "pid"), &format!("--port={port}")])
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--character-set-server=utf8mb4"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("mariadbd")?;
        let address = format!("127.0.0.1:{port}");
        let by_socket = MySqlConnectOptions::new().socket(data.path().join("socket")).username("root");
        let connect = async || Ok(by_socket.connect().await.ok());
        let mut root = wait_for("a MariaDB of its own", START, connect).await?;
        for statement in [
            format!("CREATE DATABASE `{database}` CHARACTER SET utf8mb4"),
            "CREATE USER admin@'127.0.0.1'".to_owned(),
            "GRANT ALL ON *.* TO admin@'127.0.0.1' WITH GRANT OPTION".to_owned(),
            "CREATE OR REPLACE USER root@'127.0.0.1'".to_owned(),
            format!("GRANT ALL ON `{database}`.* TO root@'127.0.0.1'"),
        ] {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut root).await?;
        }
        let admin = MySqlPoolOptions::new().max_connections(2);
        let admin = admin.connect(&format!("mysql://admin@{address}/{database}")).await?;
        Ok(Self { admin, address, _server: server, _data: data })
    }

    /// Lets nobody but administrators write any more, or again, as a fail-over does with a primary that lives on.
    ///
    /// # Errors
    ///
    /// The server's.
    pub async fn set_read_only(&self, is_read_only: bool) -> anyhow::Result<()> {
        let value = u8::from(is_read_only);
        sqlx::query(AssertSqlSafe(format!("SET GLOBAL read_only = {value}"))).execute(&self.admin).await?;
        Ok(())
    }
}

/// As root the server must be told that it is meant.
fn command(program: &str, own_directory: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(program);
    command.arg("--no-defaults");
    if std::fs::metadata(own_directory)?.uid() == 0 {
        command.arg("--user=root");
    }
    Ok(command)
}
