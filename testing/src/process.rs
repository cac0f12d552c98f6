//! Real processes of the three services, to be killed and to be held up.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, Command};

/// A running process; killed when it is dropped.
pub struct Process {
    child: Child,
}

/// The directory of the workspace's binaries: where this binary or test was built.
///
/// # Errors
///
/// The binaries have not been built.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not built: run `cargo build --workspace`"))
}

/// A program with this environment, and nothing of our own configuration or of what others say of telemetry.
fn command(program: &Path, environment: &[(String, String)]) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    for (inherited, _) in std::env::vars_os() {
        if [&b"HOSTSYNC_"[..], b"OTEL_"].iter().any(|prefix| inherited.as_encoded_bytes().starts_with(prefix)) {
            command.env_remove(inherited);
        }
    }
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

/// Starts a service that goes on when this process has ended: in a process group of its own, so that Ctrl-C at the
/// terminal does not reach it, its output in `log`, which is emptied first. Nothing of our own configuration is inherited.
///
/// # Errors
///
/// It is not built or cannot be started, or the log cannot be written.
pub fn start_detached(name: &str, environment: &[(String, String)], log: &Path) -> anyhow::Result<std::process::Child> {
    let output = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
    command(&binary(name)?, environment)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .spawn()
        .with_context(|| format!("{name} cannot be started"))
}

/// Runs a command of a program with this environment to its end; returns its exit code and what it said.
///
/// # Errors
///
/// It cannot be started, or was ended by a signal.
pub async fn run_command(
    program: &Path,
    arguments: &[&str],
    environment: &[(String, String)],
) -> anyhow::Result<(i32, String)> {
    let output = Command::from(command(program, environment))
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("{} cannot be started", program.display()))?;
    let code = output.status.code().context("it was ended by a signal")?;
    Ok((code, String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()))
}

impl Process {
    /// Starts a service with this environment and nothing else of ours.
    ///
    /// # Errors
    ///
    /// It is not built or cannot be started.
    pub fn start(name: &str, environment: &[(String, String)]) -> anyhow::Result<Self> {
        Self::start_program(&binary(name)?, environment)
    }

    /// The same of a program that stands elsewhere.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start_program(program: &Path, environment: &[(String, String)]) -> anyhow::Result<Self> {
        Self::start_saying(program, environment, Stdio::inherit())
    }

    /// Starts a service with its log lines in `log`, which is emptied first.
    ///
    /// # Errors
    ///
    /// It is not built or cannot be started, or the log cannot be written.
    pub fn start_with_log(name: &str, environment: &[(String, String)], log: &Path) -> anyhow::Result<Self> {
        let log = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
        Self::start_saying(&binary(name)?, environment, log.into())
    }

    fn start_saying(program: &Path, environment: &[(String, String)], log: Stdio) -> anyhow::Result<Self> {
        let child = Command::from(command(program, environment))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        Ok(Self { child })
    }

    /// Its process id; `None` once it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// SIGKILL, and waits for its end.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("kill")
    }

    /// SIGTERM; returns its exit code, within `limit`.
    ///
    /// # Errors
    ///
    /// It did not end in time, or not by itself.
    pub async fn terminate(mut self, limit: Duration) -> anyhow::Result<i32> {
        self.signal("TERM").await?;
        let ended = tokio::time::timeout(limit, self.child.wait()).await.context("it did not end in time")??;
        ended.code().context("it was ended by a signal")
    }

    /// SIGSTOP: it keeps its connections and does nothing any more.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub async fn hold(&self) -> anyhow::Result<()> {
        self.signal("STOP").await
    }

    /// SIGCONT: it goes on.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub async fn let_go(&self) -> anyhow::Result<()> {
        self.signal("CONT").await
    }

    async fn signal(&self, name: &str) -> anyhow::Result<()> {
        let id = self.child.id().context("it has ended already")?;
        let status = Command::new("kill").arg(format!("-{name}")).arg(id.to_string()).status().await?;
        anyhow::ensure!(status.success(), "SIG{name} could not be sent");
        Ok(())
    }
}
