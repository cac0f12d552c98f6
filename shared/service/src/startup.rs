//! How a service starts while the database is down, and how it knows later; and how it knows about the broker.
//!
//! Owns the wait at the start and the watches behind `/readyz`, which look by themselves and keep turning whatever they
//! look at. A schema that is too old ends the process; a database that is away does not.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use sqlx::MySqlPool;

use crate::config::Config;
use crate::operations::Readiness;
use crate::secret_files;
use crate::shutdown::Shutdown;
use hostsync_metrics::Metrics;
use hostsync_metrics::loops::{LIMIT, Loops};
use hostsync_model::causes::causes;
use hostsync_model::execution::JobQueue;
use hostsync_model::secret::Secret;
use hostsync_queue::Publisher;
use hostsync_store::database::{self, SchemaError};
use hostsync_store::fault::{self, Fault, StatementRefusal};

/// First and longest pause between two looks at a database that is away.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Longest wait for an answer.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);

/// How often a database that answers is asked again.
const WATCH_EVERY: Duration = Duration::from_secs(5);

/// Name of the database in `/readyz`.
pub const DATABASE: &str = "database";

/// Name of the broker in `/readyz`, for a service that publishes.
pub const RABBITMQ: &str = "rabbitmq";

/// Pause between two looks at a broker that is away.
const BROKER_AWAY: Duration = Duration::from_secs(1);

/// Pause between two looks at a broker that is ready.
const BROKER_READY: Duration = Duration::from_secs(5);

/// Waits until the database answers and its schema is new enough. `false`: the shutdown began first.
///
/// # Errors
///
/// The server or the schema is too old: the process ends and says what to do.
pub async fn wait_for_database(
    pool: &MySqlPool,
    readiness: &Readiness,
    loops: &Loops,
    shutdown: &Shutdown,
) -> Result<bool, SchemaError> {
    let turns = loops.begin("database watch", LIMIT);
    let mut pause = PAUSE.0;
    let mut told = Told::default();
    loop {
        turns.turned();
        let checked = tokio::time::timeout(LONGEST_ANSWER, database::check(pool)).await;
        match checked.unwrap_or(Err(SchemaError::Database(sqlx::Error::PoolTimedOut))) {
            Ok(()) => {
                readiness.set(DATABASE, Ok(()));
                return Ok(true);
            }
            Err(SchemaError::Database(error)) => told.say(readiness, &error),
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.stopping() => return Ok(false),
        }
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Has the secrets that stand in files read again when these change, until the shutdown begins. What the process holds of
/// its configuration has the new values at once; `pools` make their new connections by the URL of the database as it is then.
pub fn follow_secrets<const POOLS: usize>(
    config: &Config,
    pools: [&MySqlPool; POOLS],
    loops: &Loops,
    shutdown: &Shutdown,
) {
    let (url, pools) = (config.database.url.clone(), pools.map(MySqlPool::clone));
    let changed = move || {
        for pool in &pools {
            let url = url.as_ref().map(Secret::get);
            let set = url.map_or(Ok(()), |url| database::change_url(pool, url.expose_secret()));
            if let Err(error) = set {
                tracing::error!(error = %causes(&error), "database.url cannot be used as it is now");
            }
        }
    };
    secret_files::follow(config.secret_files.clone(), changed, loops, shutdown);
}

/// Keeps `/readyz` true about the database until the shutdown begins: whether it lets us work, which a write that
/// changes nothing shows. `heard` is told each time. The connections of another pool of the process are shown with those of `pool`.
pub async fn watch_database(
    pool: MySqlPool,
    another: Option<MySqlPool>,
    readiness: Readiness,
    loops: Loops,
    shutdown: Shutdown,
    heard: impl Fn(bool) + Send + 'static,
) {
    let turns = loops.begin("database watch", LIMIT);
    let mut told = Told::default();
    loop {
        turns.turned();
        show_connections([Some(&pool), another.as_ref()]);
        tokio::select! {
            () = tokio::time::sleep(WATCH_EVERY) => {}
            () = shutdown.stopping() => return,
        }
        let answered = database::within(LONGEST_ANSWER, database::takes_writes(&pool)).await;
        heard(answered.is_ok());
        match answered {
            Ok(()) => {
                told = Told::default();
                readiness.set(DATABASE, Ok(()));
            }
            Err(error) => told.say(&readiness, &error),
        }
    }
}

/// What the log was told last of a database that lets nobody work. It has the server's own words; `/readyz` has not, since
/// anybody may ask, and they name the user, where it came from, and tables.
#[derive(Default)]
struct Told(String);

impl Told {
    fn say(&mut self, readiness: &Readiness, error: &sqlx::Error) {
        let words = causes(error).to_string();
        if error.as_database_error().is_some() && words != self.0 {
            tracing::warn!(error = %causes(error), "the database refuses to let this process work");
            self.0 = words;
        }
        readiness.set(DATABASE, Err(&unreachable_because(error)));
    }
}

/// As of now, without the one that the watch itself is about to use.
fn show_connections(pools: [Option<&MySqlPool>; 2]) {
    let sum = |of: fn(&MySqlPool) -> u64| pools.into_iter().flatten().map(of).sum::<u64>();
    let (all, idle) = (sum(|pool| u64::from(pool.size())), sum(|pool| pool.num_idle() as u64));
    let max = sum(|pool| u64::from(pool.options().get_max_connections()));
    Metrics::global().connections(idle, all.saturating_sub(idle), max);
}

/// Keeps `/readyz` true about the broker until the shutdown begins, for a service that publishes but does not consume.
pub async fn watch_broker(publisher: Publisher, readiness: Readiness, loops: Loops, shutdown: Shutdown) {
    let turns = loops.begin("broker watch", LIMIT);
    loop {
        turns.turned();
        let state = match tokio::time::timeout(LONGEST_ANSWER, publisher.ready_messages(JobQueue::Manual)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(causes(&error).to_string()),
            Err(_) => Err(format!("no answer within {} s", LONGEST_ANSWER.as_secs())),
        };
        let pause = if state.is_ok() { BROKER_READY } else { BROKER_AWAY };
        let state = state.map_err(|reason| format!("{reason}; runs are accepted and published when it comes back"));
        readiness.set(RABBITMQ, state.as_ref().copied().map_err(String::as_str));
        tokio::select! {
            () = shutdown.stopping() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Says what is wrong without showing a statement, a path or a credential.
fn unreachable_because(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(error) => format!("cannot connect: {}", error.kind()),
        // Of a connection that is set up, only what MySQL's own authentication wants is a matter of configuration: it
        // sends a password in the clear by TLS, or by RSA, which is not built in.
        sqlx::Error::Configuration(_) => {
            "the database user logs in with caching_sha2_password or sha256_password, which needs TLS: set ssl-mode in \
             database.url, or, up to MySQL 8.4, ALTER USER … IDENTIFIED WITH mysql_native_password"
                .to_owned()
        }
        sqlx::Error::Protocol(text) if text.contains("plugin") => {
            "the database user logs in by a plugin that hostsync does not know: use caching_sha2_password (with TLS) or \
             mysql_native_password"
                .to_owned()
        }
        sqlx::Error::Tls(_) => "the TLS handshake failed; see ssl-mode and ssl-ca in database.url".to_owned(),
        sqlx::Error::PoolTimedOut => "no connection became free in time".to_owned(),
        sqlx::Error::Database(_) => {
            let number = fault::error_number(error).unwrap_or_default();
            match Fault::of(error) {
                Fault::ReadOnly => format!(
                    "this server takes no writes (error {number}); after a fail-over the name in database.url must lead to the new primary"
                ),
                Fault::Refused(StatementRefusal::Login) => {
                    format!("the user is not let in (error {number}): check the user, the password and the name in database.url")
                }
                Fault::Refused(StatementRefusal::Right) => {
                    format!("the user lacks a right (error {number}): `hostsync-api doctor` prints the grant")
                }
                Fault::Refused(_) => format!("refused (error {number}): the log has the server's words"),
                Fault::ConnectionLost | Fault::Conflict => format!("busy or away (error {number})"),
            }
        }
        _ => "does not answer".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A packet of MySQL's protocol: length, number, payload.
    async fn send(stream: &mut TcpStream, number: u8, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("short").to_le_bytes();
        let packet = [&length[..3], &[number], payload].concat();
        stream.write_all(&packet).await.expect("sent");
    }

    async fn receive(stream: &mut TcpStream) {
        let mut head = [0; 4];
        stream.read_exact(&mut head).await.expect("a packet");
        let length = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
        stream.read_exact(&mut vec![0; length]).await.expect("a payload");
    }

    /// Speaks as MySQL does until the login: no TLS, and users of `plugin`. Returns the URL.
    async fn mysql_with(plugin: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut hello = vec![10];
                hello.extend(b"8.0.36\0");
                hello.extend([1, 0, 0, 0]);
                hello.extend([7; 8]);
                // Protocol 4.1, a database at the login, secure authentication by plugins; utf8mb4; nothing of TLS.
                hello.extend([0, 0x08, 0x82, 45, 2, 0, 0x28, 0, 21]);
                hello.extend([0; 10]);
                hello.extend([7; 12]);
                hello.push(0);
                hello.extend(plugin.as_bytes());
                hello.push(0);
                send(&mut stream, 0, &hello).await;
                receive(&mut stream).await;
                // "Full authentication", and the public key that was asked for.
                send(&mut stream, 2, &[1, 4]).await;
                receive(&mut stream).await;
                send(&mut stream, 4, b"\x01-----BEGIN PUBLIC KEY-----").await;
            }
        });
        format!("mysql://hostsync:secret@{address}/cmdb")
    }

    async fn told_of(url: &str) -> String {
        let pool = database::connect_lazy(url, 1).expect("a URL");
        let error = pool.acquire().await.expect_err("no login");
        unreachable_because(&error)
    }

    #[tokio::test]
    async fn a_login_that_needs_tls_says_so() {
        let told = told_of(&mysql_with("caching_sha2_password").await).await;
        assert!(told.contains("caching_sha2_password") && told.contains("needs TLS"), "{told}");
        assert!(told.contains("ssl-mode in database.url, or, up to MySQL 8.4, ALTER USER"), "{told}");
        assert!(!told.contains("secret"), "{told}");
    }

    #[tokio::test]
    async fn a_login_by_an_unknown_plugin_says_so() {
        let told = told_of(&mysql_with("auth_socket").await).await;
        assert!(told.starts_with("the database user logs in by a plugin that hostsync does not know"), "{told}");
    }

    #[tokio::test]
    async fn a_database_that_nobody_serves_cannot_be_connected() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let told = told_of(&format!("mysql://hostsync:secret@{address}/cmdb")).await;
        assert!(told.starts_with("cannot connect") || told.starts_with("no connection became free"), "{told}");
    }
}
