//! `hostsync-api doctor` by the binary itself: all well, and each thing that can be wrong, told with what to do.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hostsync_model::execution::{DetailId, ExecutionId, JobQueue};
use hostsync_queue::{Job, OutgoingJob, Topology};
use reqwest::Method;
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::binary::run;
use crate::harness::{Ground, Way, with_ground};
use crate::probe::{engine_url, index};

const DATABASE: &str = "HOSTSYNC_DATABASE__URL";
const BROKER: &str = "HOSTSYNC_RABBITMQ__URL";
const SOURCE: &str = "HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__URL";
const PATTERN: &str = "HOSTSYNC_ELASTICSEARCH__DEFAULT_INDEX_PATTERN";

/// A ground with a host, queues, and an index of its own as its only source.
struct Bed<'a> {
    ground: &'a Ground,
    index: String,
}

/// What the doctor says, by `--json`.
struct Said {
    code: i32,
    checks: Vec<Value>,
}

impl Said {
    /// The one line about a thing.
    #[track_caller]
    fn line(&self, check: &str) -> (&str, &str, &str) {
        let lines: Vec<&Value> = self.checks.iter().filter(|line| line["check"] == check).collect();
        let [line] = lines.as_slice() else { panic!("{check} in {:#?}", self.checks) };
        let text = |key: &str| line[key].as_str().unwrap_or_default();
        (text("level"), text("found"), text("next"))
    }

    /// Checks that `check` alone is bad, at `level`, says `found` and tells to do `next`.
    #[track_caller]
    fn only(&self, check: &str, level: &str, found: &str, next: &str) {
        let (is_level, has_found, has_next) = self.line(check);
        assert_eq!(is_level, level, "{:#?}", self.checks);
        assert!(has_found.contains(found), "{has_found:?} does not say {found:?}");
        assert!(has_next.contains(next), "{has_next:?} does not say {next:?}");
        assert_eq!(self.code, i32::from(level == "fail"));
        let others = self.checks.iter().filter(|line| line["level"] != "ok" && line["check"] != check);
        // The servers of today may be younger than what was tested.
        let others = others.filter(|line| !line["check"].as_str().is_some_and(|name| name.ends_with(" version")));
        assert_eq!(others.collect::<Vec<_>>(), [] as [&Value; 0], "only {check} is bad");
    }
}

impl Bed<'_> {
    fn environment(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut environment = self.ground.environment();
        environment.retain(|(name, _)| !name.contains("__OTHER__"));
        let (source, index) = (engine_url(), self.index.clone());
        for (name, value) in [(SOURCE, source.as_str()), (PATTERN, &index)].iter().chain(more) {
            environment.retain(|(other, _)| other != name);
            environment.push(((*name).to_owned(), (*value).to_owned()));
        }
        environment
    }

    async fn doctor(&self, more: &[(&str, &str)]) -> Said {
        let (code, output, errors) = run(&self.environment(more), &["doctor", "--json"]).await;
        let answer: Value = serde_json::from_str(&output).unwrap_or_else(|_| panic!("{output} {errors}"));
        assert_eq!(answer["well"], code == 0);
        Said { code, checks: answer["checks"].as_array().expect("checks").clone() }
    }

    /// A request to the search engine.
    async fn engine(&self, method: Method, path: &str, body: Option<&Value>) {
        let mut request = reqwest::Client::new().request(method, format!("{}/{path}", engine_url()));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }

    async fn execute(&self, sql: &str) {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(&self.ground.pool).await.expect("executed");
    }

    /// What each table that hostsync writes holds, to compare.
    async fn rows(&self) -> Vec<(String, i64)> {
        let mut rows = Vec::new();
        for used in hostsync_store::tables::diagnosis::USES {
            let sql = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {}", used.table));
            let count = sqlx::query_scalar(sql).fetch_one(&self.ground.pool).await.expect("counted");
            rows.push((used.table.to_owned(), count));
        }
        rows
    }

    /// The URL of the database with another user.
    fn database_as(&self, user: &str, password: &str) -> String {
        let mut url: reqwest::Url = self.ground.database_url().parse().expect("a URL");
        url.set_username(user).expect("it has a host");
        url.set_password(Some(password)).expect("it has a host");
        url.into()
    }
}

async fn with_bed(test: impl AsyncFnOnce(&Bed<'_>)) {
    with_ground(Ground::new(true).await, async |ground| {
        let bed = Bed { ground, index: ground.name.replace('_', "-") };
        index(&bed.index, "double").await;
        bed.execute(
            "INSERT INTO hosts_pool (host_name, host_ip, ram, disk_size) VALUES ('web-1', '10.0.0.1', 16, 100)",
        )
        .await;
        // Whoever connects declares the queues.
        ground.queues().ready_messages(JobQueue::Bulk).await.expect("declared");
        let tested = futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(test(&bed))).await;
        bed.engine(Method::DELETE, &bed.index, None).await;
        if let Err(panic) = tested {
            std::panic::resume_unwind(panic);
        }
    })
    .await;
}

/// An address where nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    Way::closed().await.address
}

#[tokio::test]
async fn a_sound_set_up_is_one_screenful_with_exit_code_0_and_nothing_is_written() {
    with_bed(async |bed| {
        let before = bed.rows().await;
        let (code, output, errors) = run(&bed.environment(&[]), &["doctor"]).await;
        assert_eq!((code, errors.as_str()), (0, ""), "{output}");
        assert!(output.lines().count() <= 24, "one screenful: {output}");
        // A server of today may be younger than what was tested: a warning, and what to do about it.
        let may_stand = ["hostsync is tested with", "→ try it", "checks: 0 FAIL"];
        assert!(
            output.lines().all(|line| line.starts_with("ok  ") || may_stand.iter().any(|text| line.contains(text))),
            "{output}"
        );
        for found in [
            "environment alone; endpoints default",
            "(tested: RabbitMQ 3.10 to 4.3)",
            "1 live hosts",
            "2 documents in 24h",
            "0 jobs wait",
        ] {
            assert!(output.contains(found), "{found}: {output}");
        }
        assert!(!output.contains("operator-token"), "no secret is shown");
        assert_eq!(bed.rows().await, before);
    })
    .await;
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_ends_with_2_as_in_the_services() {
    let (code, output, errors) = run(&[], &["doctor"]).await;
    assert_eq!((code, output.as_str()), (2, ""));
    assert!(errors.contains("database.url") && errors.contains("rabbitmq.url"), "{errors}");
}

#[tokio::test]
async fn a_database_that_is_down_and_a_wrong_password_are_told_apart() {
    with_bed(async |bed| {
        let url = bed.ground.database_url_at(nobody().await);
        bed.doctor(&[(DATABASE, &url)]).await.only("database", "fail", "cannot connect", "database.url");
        let url = bed.database_as("nobody", "wrong");
        let said = bed.doctor(&[(DATABASE, &url)]).await;
        let version: String =
            sqlx::query_scalar("SELECT VERSION()").fetch_one(&bed.ground.pool).await.expect("a version");
        let (_, cipher): (String, String) =
            sqlx::query_as("SHOW STATUS LIKE 'Ssl_cipher'").fetch_one(&bed.ground.pool).await.expect("a status");
        let (found, next) = if version.contains("MariaDB") || !cipher.is_empty() {
            ("Access denied", "correct user and password in database.url")
        } else {
            ("caching_sha2_password, which needs TLS", "?ssl-mode=REQUIRED in database.url")
        };
        said.only("database", "fail", found, next);
        let url = bed.ground.database_url().replace(&bed.ground.name, "hs_test_api_none");
        let said = bed.doctor(&[(DATABASE, &url)]).await;
        said.only("database", "fail", "hs_test_api_none", "the name at the end of database.url");
        assert!(said.checks.iter().all(|line| !line.to_string().contains("wrong@")), "no password is shown");
    })
    .await;
}

#[tokio::test]
async fn a_schema_that_is_older_or_newer_is_told_by_its_migration() {
    with_bed(async |bed| {
        bed.execute("UPDATE _sqlx_migrations SET version = 9001 WHERE version = 1").await;
        let said = bed.doctor(&[]).await;
        said.only("schema", "fail", "older than this binary needs: migration 1 is missing", "hostsync-api migrate");
        bed.execute("INSERT INTO _sqlx_migrations SELECT 1, description, installed_on, success, checksum, execution_time FROM _sqlx_migrations WHERE version = 9001").await;
        bed.doctor(&[]).await.only("schema", "warn", "migration 9001, newer than this binary", "the newer image");
    })
    .await;
}

#[tokio::test]
async fn a_right_that_is_missing_is_told_as_the_grant_that_gives_it() {
    with_bed(async |bed| {
        let (name, user) = (&bed.ground.name, format!("u{:x}", rand::random::<u32>()));
        bed.execute(&format!("CREATE USER '{user}'@'%'")).await;
        for used in hostsync_store::tables::diagnosis::USES {
            bed.execute(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.{} TO '{user}'@'%'", used.table))
                .await;
        }
        let url = bed.database_as(&user, "");
        let well = bed.doctor(&[(DATABASE, &url)]).await;
        bed.execute(&format!("REVOKE INSERT, DELETE ON {name}.es_sync_execution_detail FROM '{user}'@'%'")).await;
        let bad = bed.doctor(&[(DATABASE, &url)]).await;
        bed.execute(&format!("GRANT INSERT, DELETE ON {name}.es_sync_execution_detail TO '{user}'@'%'")).await;
        bed.execute(&format!("REVOKE INSERT ON {name}.hosts_pool FROM '{user}'@'%'")).await;
        let without_full_sync = bed.doctor(&[(DATABASE, &url)]).await;
        bed.execute(&format!("DROP USER '{user}'@'%'")).await;

        assert_eq!(well.line("permissions").0, "ok", "{:#?}", well.checks);
        let found = format!("{user}@% may not INSERT on es_sync_execution_detail; DELETE on es_sync_execution_detail");
        let grant = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON `{name}`.* TO '{user}'@'%';");
        bad.only("permissions", "fail", &found, &grant);
        without_full_sync.only("permissions", "warn", "full sync cannot add hosts", &grant);
    })
    .await;
}

#[tokio::test]
async fn a_user_who_may_do_nothing_is_given_all_by_one_line() {
    with_bed(async |bed| {
        let (name, user) = (&bed.ground.name, format!("u{:x}", rand::random::<u32>()));
        bed.execute(&format!("CREATE USER '{user}'@'%'; GRANT SELECT ON {name}._sqlx_migrations TO '{user}'@'%'"))
            .await;
        let url = bed.database_as(&user, "");
        let bad = bed.doctor(&[(DATABASE, &url)]).await;
        let (_, found, grant) = bad.line("permissions");
        bed.execute(grant).await;
        let well = bed.doctor(&[(DATABASE, &url)]).await;
        bed.execute(&format!("DROP USER '{user}'@'%'")).await;
        bad.only("permissions", "fail", "may not SELECT on hosts_pool, server_resources, es_sync_task_config", "GRANT");
        assert!(found.contains("; DELETE on es_sync_execution_log"), "{found}");
        assert_eq!(well.code, 0, "{:#?}", well.checks);
    })
    .await;
}

#[tokio::test]
async fn tables_of_the_cmdb_that_lack_something_and_an_empty_pool_are_told() {
    with_bed(async |bed| {
        bed.execute("ALTER TABLE hosts_pool ADD rack VARCHAR(10) NOT NULL").await;
        let found = "hosts_pool.rack takes no NULL and has no default";
        bed.doctor(&[]).await.only("cmdb tables", "warn", found, "ask its owner");
        bed.execute("ALTER TABLE hosts_pool DROP COLUMN rack").await;
        bed.execute("DELETE FROM hosts_pool").await;
        bed.doctor(&[]).await.only("cmdb tables", "warn", "no live host", "fill hosts_pool");
        bed.execute(
            "ALTER TABLE server_resources DROP COLUMN cpu_percent_max, DROP KEY uk_server_resources_ip_date,
                 ADD owner VARCHAR(10) NOT NULL, MODIFY used_disk VARCHAR(20)",
        )
        .await;
        let said = bed.doctor(&[]).await;
        for told in [
            "column server_resources.cpu_percent_max is missing",
            "unique key server_resources (ip, mon_date) is missing",
            "server_resources.owner takes no NULL and has no default, and hostsync does not write it: every host fails",
            "server_resources.used_disk is varchar(20): it must be a number",
        ] {
            said.only("cmdb tables", "fail", told, "ask its owner");
        }
        bed.execute("ALTER TABLE hosts_pool DROP COLUMN host_name").await;
        let said = bed.doctor(&[]).await;
        said.only("cmdb tables", "fail", "column hosts_pool.host_name is missing", "ask its owner");
    })
    .await;
}

#[tokio::test]
async fn a_table_of_our_own_that_somebody_changed_is_told_with_the_migration_that_makes_it() {
    with_bed(async |bed| {
        bed.execute("ALTER TABLE es_sync_execution_detail DROP COLUMN solo_since, ADD note INT NOT NULL").await;
        let said = bed.doctor(&[]).await;
        let found = "column es_sync_execution_detail.solo_since is missing (migration 5)";
        said.only("our tables", "fail", found, "DELETE FROM _sqlx_migrations");
        said.only("our tables", "fail", "es_sync_execution_detail.note takes no NULL", "a default");
    })
    .await;
}

#[tokio::test]
async fn a_name_of_the_environment_that_sets_nothing_is_told() {
    with_bed(async |bed| {
        let said = bed.doctor(&[("HOSTSYNC_WORKER_BATCH_HOSTS", "7")]).await;
        said.only("environment", "warn", "HOSTSYNC_WORKER__BATCH_HOSTS", "correct its spelling");
    })
    .await;
}

#[tokio::test]
async fn a_broker_that_is_down_a_wrong_password_and_a_wrong_vhost_are_told_apart() {
    with_bed(async |bed| {
        let broker: reqwest::Url = bed.ground.servers.rabbitmq.parse().expect("a URL");
        let host = format!("{}:{}", broker.host_str().expect("a host"), broker.port().expect("a port"));
        let nobody = format!("amqp://user:secret@{}/%2f", nobody().await);
        bed.doctor(&[(BROKER, &nobody)]).await.only("broker", "fail", "refused", "rabbitmq.url lead to it");
        let wrong = format!("amqp://user:secret@{host}/%2f");
        let said = bed.doctor(&[(BROKER, &wrong)]).await;
        said.only("broker", "fail", "ACCESS_REFUSED", "rabbitmqctl authenticate_user");
        let elsewhere = bed.ground.servers.rabbitmq.replace("/%2f", "/elsewhere");
        let said = bed.doctor(&[(BROKER, &elsewhere)]).await;
        said.only("broker", "fail", "vhost elsewhere not found", "the vhost at the end of rabbitmq.url");
    })
    .await;
}

#[tokio::test]
async fn a_user_of_the_broker_without_rights_on_the_prefix_is_told_with_the_line_that_gives_them() {
    with_bed(async |bed| {
        let servers = &bed.ground.servers;
        let user = format!("hs_test_{:x}", rand::random::<u32>());
        let (user_path, permissions) = (format!("users/{user}"), format!("permissions/%2F/{user}"));
        let password = json!({"password": "secret", "tags": ""});
        servers.manage(Method::PUT, &user_path, Some(&password)).await;
        let allow = async |configure: &str, write: &str, read: &str| {
            let allowed = json!({"configure": configure, "write": write, "read": read});
            servers.manage(Method::PUT, &permissions, Some(&allowed)).await;
        };
        let mut url: reqwest::Url = servers.rabbitmq.parse().expect("a URL");
        url.set_username(&user).expect("it has a host");
        url.set_password(Some("secret")).expect("it has a host");
        // The default vhost, as our own messages write it.
        url.set_path("/");

        allow("^other\\.", "^other\\.", "^other\\.").await;
        let none = bed.doctor(&[(BROKER, url.as_str())]).await;
        let ours = format!("^{}\\.", bed.ground.name);
        allow(&ours, "^other\\.", &ours).await;
        let no_write = bed.doctor(&[(BROKER, url.as_str())]).await;
        allow(&ours, &ours, "^other\\.").await;
        let no_read = bed.doctor(&[(BROKER, url.as_str())]).await;
        allow(&ours, &ours, &ours).await;
        let all = bed.doctor(&[(BROKER, url.as_str())]).await;
        servers.manage(Method::DELETE, &user_path, None).await;

        let line = format!("rabbitmqctl set_permissions -p '/' '{user}' '{ours}' '{ours}' '{ours}'");
        none.only("broker rights", "fail", &format!("{user} may not configure, write, read"), &line);
        no_write.only("broker rights", "fail", &format!("{user} may not write {}", bed.ground.name), &line);
        no_read.only("broker rights", "fail", &format!("{user} may not read {}", bed.ground.name), &line);
        assert_eq!(all.code, 0, "{:#?}", all.checks);
    })
    .await;
}

#[tokio::test]
async fn a_queue_with_other_arguments_is_told_by_name_and_argument() {
    with_bed(async |bed| {
        let name = Topology::new(&bed.ground.name).queue(JobQueue::Bulk);
        let path = format!("queues/%2F/{name}");
        bed.ground.servers.manage(Method::DELETE, &path, None).await;
        bed.doctor(&[]).await.only("queue bulk", "warn", "is not there", "restart a worker");
        let other = json!({"durable": true, "arguments": {"x-queue-type": "quorum", "x-max-length": 5}});
        bed.ground.servers.manage(Method::PUT, &path, Some(&other)).await;
        let said = bed.doctor(&[]).await;
        let (_, found, _) = said.line("queue bulk");
        assert!(found.contains("PRECONDITION_FAILED") && found.contains("inequivalent arg 'x-"), "{found}");
        said.only("queue bulk", "fail", &name, &format!("rabbitmqctl delete_queue {name}"));
    })
    .await;
}

#[tokio::test]
async fn jobs_that_nobody_consumes_and_dead_letters_are_told() {
    with_bed(async |bed| {
        let (execution_id, detail_id, host_ip) = (ExecutionId(1), DetailId(1), "10.0.0.1".to_owned());
        let job = Job { execution_id, detail_id, host_ip, attempt: 1, window_to: None };
        let jobs = vec![OutgoingJob { job, queue: JobQueue::Manual }; 3];
        assert!(bed.ground.queues().publish(&jobs, &BTreeMap::new()).await.is_complete());
        let said = bed.doctor(&[]).await;
        said.only("queue manual", "warn", "3 jobs wait, 0 consumers", "no worker consumes");
        let queue = Topology::new(&bed.ground.name).queue(JobQueue::Manual);
        bed.ground.servers.manage(Method::DELETE, &format!("queues/%2F/{queue}/contents"), None).await;
        bed.ground.queues().publish_dead_letter(b"hello", "not a job").await.expect("set aside");
        let said = bed.doctor(&[]).await;
        said.only("dead letters", "warn", "1 in ", "hostsync-api dead-letters list");
        bed.ground.move_dead_letters(1).await;
        let said = bed.doctor(&[]).await;
        said.only("dead letters", "warn", "1 in the table es_sync_dead_letter: ", "hostsync-api dead-letters list");
    })
    .await;
}

#[tokio::test]
async fn a_source_is_told_by_what_is_wrong_with_it() {
    with_bed(async |bed| {
        let down = format!("http://{}", nobody().await);
        let said = bed.doctor(&[(SOURCE, &down)]).await;
        said.only("source default", "fail", "default", "does elasticsearch.endpoints.default.url lead to it");

        let said = bed.doctor(&[(PATTERN, "hs-test-no-such-index")]).await;
        said.only("source default", "fail", "hs-test-no-such-index", "elasticsearch.default_index_pattern");

        // Nobody chose the default pattern, so it is no mistake of anybody's: what the source has is told.
        let pattern = hostsync_service::config::DEFAULT_INDEX_PATTERN;
        let said = bed.doctor(&[(PATTERN, pattern)]).await;
        said.only("source default", "warn", pattern, "the source has ");
        said.only("source default", "warn", pattern, "set elasticsearch.default_index_pattern = ");

        let stranger = MockServer::start().await;
        Mock::given(any()).respond_with(ResponseTemplate::new(401)).mount(&stranger).await;
        let said = bed.doctor(&[(SOURCE, &stranger.uri())]).await;
        said.only("source default", "fail", "did not accept the credentials", "correct username and password");

        let more = "HOSTSYNC_ELASTICSEARCH__ENDPOINTS__DEFAULT__CA_FILE";
        let said = bed.doctor(&[(SOURCE, "https://127.0.0.1:1"), (more, "/nowhere/ca.pem")]).await;
        said.only("source default", "fail", "/nowhere/ca.pem", "elasticsearch.endpoints.default");
    })
    .await;
}

#[tokio::test]
async fn a_field_that_is_missing_and_a_source_that_gets_no_documents_are_told() {
    with_bed(async |bed| {
        let said = bed.doctor(&[("HOSTSYNC_ELASTICSEARCH__DEFAULT_MAPPING", "metricbeat")]).await;
        said.only("source default", "fail", "no index has the field \"host.ip\"", "correct the mapping");
        let everything = json!({"query": {"match_all": {}}});
        bed.engine(Method::POST, &format!("{}/_delete_by_query?refresh=true", bed.index), Some(&everything)).await;
        let said = bed.doctor(&[]).await;
        said.only("source default", "warn", "0 documents in 24h", "does anything still write there?");
    })
    .await;
}

#[tokio::test]
async fn a_closed_endpoint_a_run_that_stands_still_and_an_overdue_fire_are_told() {
    with_bed(async |bed| {
        bed.execute("INSERT INTO es_sync_endpoint_state (endpoint, closed_since, reason) VALUES ('default', '2026-01-02 03:04:05', 'cannot connect')").await;
        let said = bed.doctor(&[]).await;
        let found = "default is closed for the fleet since 2026-01-02 03:04:05Z: cannot connect";
        said.only("endpoints", "fail", found, "mend what `source default` says");
        bed.execute("DELETE FROM es_sync_endpoint_state").await;

        bed.execute("INSERT INTO es_sync_pattern_state (endpoint, index_pattern, set_aside_since, reason) VALUES ('default', 'logs-*', '2026-01-02 03:04:05', 'no node holds it')").await;
        let said = bed.doctor(&[]).await;
        let found = "logs-* of default is set aside since 2026-01-02 03:04:05Z: no node holds it";
        said.only("index patterns", "fail", found, "mend the index");
        bed.execute("DELETE FROM es_sync_pattern_state").await;

        let id = bed.ground.silent_run().await;
        let said = bed.doctor(&[]).await;
        let found =
            format!("execution {id} makes no progress for 11 min: 0 jobs wait in the queue bulk and no worker consumes");
        said.only("runs", "fail", &found, "start a worker");
        bed.execute("DELETE FROM es_sync_execution_detail; DELETE FROM es_sync_execution_log").await;

        bed.execute("INSERT INTO es_sync_task_config (task_name, cron_expression, is_enabled, next_execution_time) VALUES ('late', '@daily', 1, UTC_TIMESTAMP(3) - INTERVAL 2 MINUTE)").await;
        let said = bed.doctor(&[]).await;
        said.only("schedule", "fail", "1 of 1 enabled tasks are overdue", "component=scheduler");
        bed.execute("UPDATE es_sync_task_config SET next_execution_time = UTC_TIMESTAMP(3) + INTERVAL 1 HOUR, es_endpoint = 'gone', mapping = 'lost'").await;
        let said = bed.doctor(&[]).await;
        said.only("tasks", "fail", "(late) names endpoint gone and mapping lost", "elasticsearch.endpoints or mappings");
    })
    .await;
}

#[tokio::test]
async fn servers_that_take_the_connection_and_say_nothing_do_not_hold_it_up() {
    with_bed(async |bed| {
        // Never accepted: the system takes the connections, and nobody ever answers.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = silent.local_addr().expect("an address");
        let begun = tokio::time::Instant::now();
        let said = bed
            .doctor(&[
                (DATABASE, &bed.ground.database_url_at(address)),
                (BROKER, &format!("amqp://user:secret@{address}/%2f")),
                (SOURCE, &format!("http://{address}")),
            ])
            .await;
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
        for check in ["database", "broker", "source default"] {
            let (level, found, _) = said.line(check);
            assert_eq!(level, "fail", "{check}");
            assert!(found.contains("within"), "{found}");
        }
    })
    .await;
}
