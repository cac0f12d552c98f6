//! Processor time of processes, by `/proc` (proc(5)).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Clock ticks a second in `/proc/PID/stat`: 100 on every Linux that user space sees.
const TICKS_PER_SECOND: f64 = 100.0;

/// Marks the development servers (`deploy/dev/lib/process.sh`): `HOSTSYNC_DEV_SERVER=<.dev>:<server>`.
const SERVER_MARK: &str = "HOSTSYNC_DEV_SERVER=";

/// Processes by what they are for.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProcessGroups(BTreeMap<String, Vec<u32>>);

impl ProcessGroups {
    /// The development servers of the checkout whose `.dev` this is; none where they run elsewhere.
    pub(crate) fn servers(dev: &Path) -> Self {
        let mut watched = Self::default();
        let Ok(dev) = dev.canonicalize() else { return watched };
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process may end, or belong to somebody else.
            let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
            let server = environment
                .split(|byte| *byte == 0)
                .filter_map(|variable| std::str::from_utf8(variable).ok()?.strip_prefix(SERVER_MARK)?.rsplit_once(':'))
                .find(|(folder, _)| Path::new(folder) == dev);
            if let Some((_, server)) = server {
                watched.add(server, pid);
            }
        }
        watched
    }

    /// Watches a process more.
    pub(crate) fn add(&mut self, name: impl Into<String>, pid: u32) {
        self.0.entry(name.into()).or_default().push(pid);
    }

    /// Seconds of processor time that each has used until now, with its kernel part.
    pub(crate) fn cpu_seconds(&self) -> BTreeMap<String, f64> {
        self.0
            .iter()
            .map(|(name, pids)| (name.clone(), pids.iter().filter_map(|pid| cpu_seconds(*pid)).sum()))
            .collect()
    }
}

/// A process and its children.
pub(crate) fn with_children(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    std::iter::once(pid).chain(children.split_whitespace().filter_map(|child| child.parse().ok())).collect()
}

/// Seconds of processor time that a process has used until now. `None`: there is no such process.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses, which may hold anything; the 14th and 15th are the ticks.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
    Some((ticks(14)? + ticks(15)?) / TICKS_PER_SECOND)
}

/// The most memory that a process has held since its start, in bytes. `None`: there is no such process.
pub(crate) fn peak_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// What was used between two readings, by name.
pub(crate) fn used(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    after
        .iter()
        .map(|(name, seconds)| (name.clone(), seconds - before.get(name).copied().unwrap_or_default()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_processor_time_and_a_missing_one_none() {
        let mut watched = ProcessGroups::default();
        watched.add("self", std::process::id());
        watched.add("none", u32::MAX);
        let before = watched.cpu_seconds();
        assert!(before["self"] >= 0.0 && before["none"] == 0.0, "{before:?}");
        assert!(used(&before, &watched.cpu_seconds())["self"] >= 0.0);
        assert!(peak_memory(std::process::id()) > Some(1 << 20));
        assert_eq!(peak_memory(u32::MAX), None);
    }
}
