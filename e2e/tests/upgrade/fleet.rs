//! One release's programs, and one process of each at work.

use std::path::PathBuf;
use std::time::Duration;

use hostsync_testing::bed::Bed;
use hostsync_testing::client::Client;
use hostsync_testing::ports::free_port;
use hostsync_testing::process::{self, Process};

pub(crate) const LIMIT: Duration = Duration::from_mins(2);

/// Longest end of a process: more than its grace period of 45 s.
const LONGEST_END: Duration = Duration::from_mins(1);

/// The programs of one release.
pub(crate) struct Release {
    folder: PathBuf,
    /// Whether it is the last one, which may be 0.1.0: that does not say which worker wrote an outcome.
    is_last: bool,
}

impl Release {
    /// The last one.
    pub(crate) fn last() -> Self {
        let folder = std::env::var("HOSTSYNC_PREVIOUS_RELEASE").expect("run `make test-upgrade`");
        Self { folder: folder.into(), is_last: true }
    }

    /// This checkout.
    pub(crate) fn this() -> Self {
        let program = process::binary("hostsync-api").expect("the programs of this checkout");
        Self { folder: program.parent().expect("a folder").to_owned(), is_last: false }
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Brings the bed's database to the schema of this release.
    pub(crate) async fn migrate(&self, bed: &Bed) {
        let (code, said) = process::run_command(&self.program("hostsync-api"), &["migrate"], &bed.environment(&[]))
            .await
            .expect("an end");
        assert_eq!(code, 0, "{said}");
    }
}

/// One process of each program of a release.
pub(crate) struct Fleet {
    pub(crate) client: Client,
    api: Process,
    scheduler: Process,
    worker: Process,
    /// Of details with an outcome: those that its worker wrote.
    pub(crate) wrote: String,
}

impl Fleet {
    /// Starts them and waits until the API is ready.
    pub(crate) async fn start(release: &Release, bed: &Bed, search_url: &str) -> Self {
        let address = format!("127.0.0.1:{}", free_port().expect("a port"));
        let environment = bed.environment(&[
            ("HOSTSYNC_API__LISTEN", address.as_str()),
            ("HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL", search_url),
            ("HOSTSYNC_WORKER__BATCH_HOSTS", "20"),
        ]);
        let start = |name: &str| Process::start_program(&release.program(name), &environment).expect("a process");
        let worker = start("hostsync-worker");
        let fleet = Self {
            client: Client::new(&format!("http://{address}")),
            api: start("hostsync-api"),
            scheduler: start("hostsync-scheduler"),
            wrote: format!(
                "(EXISTS (SELECT 1 FROM es_sync_search AS search
                          WHERE search.execution_id = es_sync_execution_detail.execution_id
                            AND search.search_id = es_sync_execution_detail.search_id AND search.worker LIKE '%/{}'){})",
                worker.id().expect("it runs"),
                if release.is_last { " OR search_id IS NULL" } else { "" }
            ),
            worker,
        };
        fleet.client.wait_until_ready(LIMIT).await.expect("ready");
        fleet
    }

    /// SIGTERM to one after the other; `between` looks at the work that goes on.
    pub(crate) async fn stop_one_by_one(self, mut between: impl AsyncFnMut()) {
        for (name, process) in [("scheduler", self.scheduler), ("worker", self.worker), ("API", self.api)] {
            assert_eq!(process.terminate(LONGEST_END).await.expect(name), 0, "the {name}'s exit code");
            between().await;
        }
    }
}
