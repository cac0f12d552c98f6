//! The files that hold secrets: read at the start, and again when what stands in them changes.
//!
//! What is looked at is the content, at an interval: container platforms swap such a file by a symbolic link, and not
//! every file system tells of it. A file that is gone, empty, unreadable or holds what its key does not take leaves the
//! last value in force; that is said once in the log, until it is well again, and shown in a metric. Must never put a
//! secret into a report.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostsync_metrics::Metrics;
use hostsync_metrics::loops::{LIMIT, Loops};
use hostsync_model::secret::Secret;

use crate::shutdown::Shutdown;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Longest wait for one file, whose file system may hang.
const LONGEST_READ: Duration = Duration::from_secs(5);

/// Largest file of one secret, in bytes.
const MAX_SECRET_FILE_BYTES: u64 = 64 * 1024;

/// The file of a secret that is in force.
#[derive(Debug, Clone)]
pub struct SecretFile {
    /// The key that names it, such as `api.operator_token_file`.
    pub key: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it holds.
    pub secret: Secret,
    /// Whether the key takes a text.
    pub(crate) check: fn(&str) -> Result<(), String>,
}

/// Reads the file of a secret, without the line ends at its end. The reason for a bad one names the file only by an
/// absolute path: anything else may be the secret itself, put there by mistake.
pub(crate) fn read_secret_file(path: &Path) -> Result<String, String> {
    let file = if path.is_absolute() { path.display().to_string() } else { "the file".to_owned() };
    let mut text = String::new();
    File::open(path)
        .and_then(|opened| opened.take(MAX_SECRET_FILE_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| format!("cannot read {file}: {error}"))?;
    if text.len() as u64 > MAX_SECRET_FILE_BYTES {
        return Err(format!("{file} has more than {MAX_SECRET_FILE_BYTES} bytes; a secret has at most so many"));
    }
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}

/// A file, and what was said of it last.
struct Followed {
    file: SecretFile,
    /// Why its content is not in force; `None`: it is.
    trouble: Option<String>,
}

impl Followed {
    /// Puts into force what stands in the file. `true`: it is another secret.
    fn take(&mut self, read: Result<String, String>) -> bool {
        let SecretFile { key, secret, check, .. } = &self.file;
        match read.and_then(|text| check(&text).map(|()| text)) {
            Ok(text) => {
                let is_another = secret.replace(&text);
                if is_another {
                    tracing::info!(key, "{key}: the secret in the file has changed and is in force");
                } else if self.trouble.is_some() {
                    tracing::info!(key, "{key}: the file can be used again");
                }
                self.trouble = None;
                is_another
            }
            Err(reason) => {
                if self.trouble.is_none() {
                    tracing::warn!(key, reason, "{key}: the last secret stays in force: {reason}");
                }
                self.trouble = Some(reason);
                false
            }
        }
    }
}

/// Follows the files in the background until the shutdown begins; `changed` is called after each look that found another
/// secret.
pub(crate) fn follow(files: Vec<SecretFile>, changed: impl Fn() + Send + 'static, loops: &Loops, shutdown: &Shutdown) {
    // One that is no file proper, such as a pipe, can be read but once.
    let is_proper = |file: &SecretFile| file.path.metadata().is_ok_and(|about| about.is_file());
    let mut followed: Vec<Followed> =
        files.into_iter().filter(is_proper).map(|file| Followed { file, trouble: None }).collect();
    if followed.is_empty() {
        return;
    }
    let (turns, stopping) = (loops.begin("secret files", LIMIT), shutdown.token());
    shutdown.spawn_essential("secret files", async move {
        while stopping.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let mut has_changed = false;
            for one in &mut followed {
                turns.turned();
                let Some(read) = stopping.run_until_cancelled(read(one.file.path.clone())).await else { return };
                has_changed |= one.take(read);
            }
            if has_changed {
                changed();
            }
            let failing = |one: &Followed| (one.file.key.clone(), one.trouble.is_some());
            Metrics::global().secret_files_failing(followed.iter().map(failing));
        }
    });
}

/// Reads one beside the runtime's threads.
async fn read(path: PathBuf) -> Result<String, String> {
    let reading = tokio::task::spawn_blocking(move || match path.metadata() {
        // To open a pipe may take for ever.
        Ok(about) if !about.is_file() => Err("is no file any more".to_owned()),
        _ => read_secret_file(&path),
    });
    match tokio::time::timeout(LONGEST_READ, reading).await {
        Ok(Ok(read)) => read,
        Ok(Err(_)) => Err("cannot be read".to_owned()),
        Err(_) => Err(format!("cannot be read within {} s", LONGEST_READ.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn long_enough(text: &str) -> Result<(), String> {
        if text.len() < 4 { Err("must have at least 4 characters".to_owned()) } else { Ok(()) }
    }

    /// A secret in the file `token` of a folder, as Kubernetes mounts it: a link to a file in a folder that a link swaps.
    fn mounted(folder: &Path, content: &str) -> Followed {
        swap(folder, "1", content);
        std::os::unix::fs::symlink("..data/token", folder.join("token")).expect("a link");
        let path = folder.join("token");
        let secret = Secret::from(read_secret_file(&path).expect("a secret").as_str());
        let file = SecretFile { key: "api.operator_token_file".to_owned(), path, secret, check: long_enough };
        Followed { file, trouble: None }
    }

    fn swap(folder: &Path, version: &str, content: &str) {
        std::fs::create_dir(folder.join(version)).expect("a folder");
        std::fs::write(folder.join(version).join("token"), content).expect("a file");
        std::os::unix::fs::symlink(version, folder.join("..new")).expect("a link");
        std::fs::rename(folder.join("..new"), folder.join("..data")).expect("swapped");
    }

    /// What a file is then, how it becomes so, and what is said of it.
    type Trouble = (&'static str, fn(&Path), &'static str);

    async fn look(followed: &mut Followed) -> String {
        followed.take(read(followed.file.path.clone()).await);
        followed.file.secret.get().expose_secret().to_owned()
    }

    #[tokio::test]
    async fn a_file_that_a_link_swaps_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut followed = mounted(folder.path(), "first\n");
        assert_eq!(look(&mut followed).await, "first");
        swap(folder.path(), "2", "second\r\n");
        assert_eq!(look(&mut followed).await, "second");
        assert_eq!(followed.trouble, None);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_leaves_the_last_value_in_force() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut followed = mounted(folder.path(), "first");
        let path = followed.file.path.clone();
        let troubles: [Trouble; 5] = [
            ("gone", |_| {}, "cannot read"),
            ("empty", |path| std::fs::write(path, "\n").expect("written"), "at least 4 characters"),
            ("not what its key takes", |path| std::fs::write(path, "abc").expect("written"), "at least 4 characters"),
            ("no text", |path| std::fs::write(path, [0xff; 8]).expect("written"), "cannot read"),
            ("a folder", |path| std::fs::create_dir(path).expect("made"), "is no file any more"),
        ];
        for (what, make, reason) in troubles {
            let _ = std::fs::remove_file(&path);
            make(&path);
            assert_eq!(look(&mut followed).await, "first", "{what}");
            let trouble = followed.trouble.clone().unwrap_or_default();
            assert!(trouble.contains(reason) && !trouble.contains("abc"), "{what}: {trouble}");
        }
        std::fs::remove_dir(&path).expect("removed");
        std::fs::write(&path, "x".repeat(64 * 1024 + 1)).expect("written");
        assert_eq!(look(&mut followed).await, "first", "too large");
        std::fs::write(&path, "second").expect("written");
        assert_eq!(look(&mut followed).await, "second");
        assert_eq!(followed.trouble, None);
    }
}
