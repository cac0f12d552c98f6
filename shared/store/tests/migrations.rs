//! The migrations on a real server: fresh, again, on top of the old program's tables, cut short.

use futures_util::future::join_all;
use hostsync_model::execution::ExecutionId;
use hostsync_store::database::{self, SchemaError};
use hostsync_store::fault::{Fault, StatementRefusal};
use hostsync_store::tables::{details, diagnosis, executions, hosts_pool, schema, tasks};
use hostsync_testing::bed::{Bed, on_bed};
use sqlx::{AssertSqlSafe, MySqlPool};

/// Tables as the program before hostsync left them, with its key that kept nothing apart, signed integers and a run that
/// nobody will end.
const OLD_INSTALLATION: &str = "
CREATE TABLE es_sync_task_config (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, task_name VARCHAR(255) NOT NULL, description TEXT,
    es_endpoint VARCHAR(500), es_index_pattern VARCHAR(255), cron_expression VARCHAR(100) NOT NULL,
    query_time_range VARCHAR(50) DEFAULT '30d', is_enabled TINYINT(1) DEFAULT 0, created_by VARCHAR(100),
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP, updated_at DATETIME DEFAULT CURRENT_TIMESTAMP, deleted_at DATETIME,
    UNIQUE KEY uk_task_name (task_name, deleted_at));
CREATE TABLE es_sync_execution_log (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, task_id BIGINT UNSIGNED DEFAULT 0, task_name VARCHAR(255),
    execution_time DATETIME NOT NULL, execution_status VARCHAR(50) NOT NULL, total_hosts INT DEFAULT 0,
    success_count INT DEFAULT 0, failed_count INT DEFAULT 0, not_in_pool_count INT DEFAULT 0, error_message TEXT,
    duration_ms BIGINT, query_time_range VARCHAR(50), created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    KEY idx_task_id (task_id), KEY idx_execution_time (execution_time));
CREATE TABLE es_sync_execution_detail (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, execution_id BIGINT UNSIGNED NOT NULL,
    host_ip VARCHAR(50) NOT NULL, host_name VARCHAR(255), sync_status VARCHAR(50) NOT NULL, error_message TEXT,
    max_cpu DECIMAL(5,2), avg_cpu DECIMAL(5,2), max_memory DECIMAL(10,2), avg_memory DECIMAL(10,2),
    max_disk DECIMAL(10,2), avg_disk DECIMAL(10,2), data_point_count INT, created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    KEY idx_execution_id (execution_id), KEY idx_host_ip (host_ip));
INSERT INTO es_sync_task_config (task_name, cron_expression, is_enabled) VALUES
    ('每日同步', '0 0 2 * * ?', 1), ('twice', '0 0 3 * * ?', 1), ('twice', '0 0 4 * * ?', 0);
INSERT INTO es_sync_task_config (task_name, cron_expression, deleted_at) VALUES ('twice', '0 0 5 * * ?', '2024-01-01');
INSERT INTO es_sync_execution_log (task_id, task_name, execution_time, execution_status, total_hosts, success_count)
    VALUES (1, '每日同步', '2024-01-01 02:00:00', 'success', 2, 2), (1, '每日同步', '2024-01-02 02:00:00', 'running', 2, 1);
INSERT INTO es_sync_execution_detail (execution_id, host_ip, sync_status, max_cpu) VALUES
    (1, '10.0.0.1', 'success', 12.5), (1, '10.0.0.2', 'success', 13.5), (2, '10.0.0.1', 'success', 1), (2, '10.0.0.1', 'success', 2);
";

async fn count(pool: &MySqlPool, from: &'static str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(format!("SELECT COUNT(*) FROM {from}"))).fetch_one(pool).await.expect("a count")
}

/// Makes the bed's database empty again.
async fn empty(bed: &Bed) {
    for table in [
        "server_resources",
        "hosts_pool",
        "es_sync_task_config",
        "es_sync_execution_log",
        "es_sync_execution_detail",
        "es_sync_newest_window",
        "es_sync_endpoint_state",
        "es_sync_pattern_state",
        "es_sync_doubt",
        "es_sync_scheduler_shift",
        "es_sync_idempotency_key",
        "es_sync_pause",
        "es_sync_paused_task",
        "_sqlx_migrations",
    ] {
        sqlx::query(AssertSqlSafe(format!("DROP TABLE IF EXISTS {table}"))).execute(&bed.pool).await.expect("dropped");
    }
}

#[tokio::test]
async fn migrating_again_changes_nothing() {
    on_bed("migrate", async |bed| {
        database::migrate(&bed.database_url()).await.expect("migrated again");
        database::check(&bed.pool).await.expect("a current schema");
    })
    .await;
}

#[tokio::test]
async fn what_is_read_from_the_migrations_is_what_they_make() {
    on_bed("migrate_read", async |bed| {
        let mut connection = bed.pool.acquire().await.expect("a connection");
        let tables = schema::tables();
        for (table, ours) in &tables {
            let mut made: Vec<&str> = ours.iter().map(|column| column.name.as_str()).collect();
            made.sort_unstable();
            let stands = diagnosis::columns(&mut connection, table).await.expect("columns");
            let mut stands: Vec<&str> = stands.iter().map(|column| column.name.as_str()).collect();
            stands.sort_unstable();
            assert_eq!(made, stands, "{table}");
        }
        let used = |table: &str| diagnosis::USES.iter().any(|used| used.table == table);
        let unused: Vec<&String> = tables.keys().filter(|table| !used(table)).collect();
        assert!(unused.is_empty(), "the doctor tries no right on {unused:?}: add what is done with them to USES");
    })
    .await;
}

#[tokio::test]
async fn several_processes_can_migrate_at_once() {
    on_bed("migrate_many", async |bed| {
        empty(&bed).await;
        let url = bed.database_url();
        for migrated in join_all((0..4).map(|_| database::migrate(&url))).await {
            migrated.expect("migrated");
        }
        database::check(&bed.pool).await.expect("a current schema");
    })
    .await;
}

#[tokio::test]
async fn an_older_schema_is_refused_and_the_command_is_named() {
    on_bed("migrate_older", async |bed| {
        sqlx::query("DELETE FROM _sqlx_migrations WHERE version = 7").execute(&bed.pool).await.expect("deleted");
        let error = database::check(&bed.pool).await.expect_err("refused");
        assert!(matches!(error, SchemaError::Older { missing: 7 }), "{error:?}");
        assert!(error.to_string().contains("hostsync-api migrate"), "{error}");
        empty(&bed).await;
        let error = database::check(&bed.pool).await.expect_err("refused");
        assert!(matches!(error, SchemaError::Older { missing: 1 }), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_migration_that_was_cut_short_runs_again() {
    on_bed("migrate_cut", async |bed| {
        sqlx::query("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 5")
            .execute(&bed.pool)
            .await
            .expect("cut");
        sqlx::query("DELETE FROM _sqlx_migrations WHERE version > 5").execute(&bed.pool).await.expect("cut");
        sqlx::query("ALTER TABLE es_sync_execution_detail DROP COLUMN solo_since")
            .execute(&bed.pool)
            .await
            .expect("half done");
        database::migrate(&bed.database_url()).await.expect("migrated");
        database::check(&bed.pool).await.expect("a current schema");
        assert_eq!(count(&bed.pool, "es_sync_execution_detail WHERE solo_since IS NULL").await, 0);
    })
    .await;
}

#[tokio::test]
async fn an_old_installation_is_adopted_without_losing_a_row() {
    on_bed("migrate_old", async |bed| {
        empty(&bed).await;
        sqlx::raw_sql(OLD_INSTALLATION).execute(&bed.pool).await.expect("old tables");
        for _ in 0..2 {
            database::migrate(&bed.database_url()).await.expect("migrated");
        }
        assert_eq!(count(&bed.pool, "es_sync_task_config").await, 4);
        assert_eq!(count(&bed.pool, "es_sync_execution_log").await, 2);
        assert_eq!(count(&bed.pool, "es_sync_execution_detail").await, 4);
        // Two live tasks no longer share a name, and never will again.
        assert_eq!(count(&bed.pool, "es_sync_task_config WHERE task_name = 'twice' AND deleted_at IS NULL").await, 1);
        assert_eq!(count(&bed.pool, "es_sync_task_config WHERE task_name = 'twice (3)'").await, 1);
        let again =
            sqlx::query("INSERT INTO es_sync_task_config (task_name, cron_expression) VALUES ('twice', '@daily')")
                .execute(&bed.pool)
                .await
                .expect_err("taken");
        assert_eq!(Fault::of(&again), Fault::Refused(StatementRefusal::Duplicate));
        let old_keys = count(
            &bed.pool,
            "information_schema.statistics WHERE table_schema = DATABASE() AND index_name = 'uk_task_name'",
        )
        .await;
        assert_eq!(old_keys, 0);
        let (status, reason): (String, String) =
            sqlx::query_as("SELECT execution_status, error_message FROM es_sync_execution_log WHERE id = 2")
                .fetch_one(&bed.pool)
                .await
                .expect("a row");
        assert_eq!(status, "failed");
        assert!(reason.contains("ended by the migration"), "{reason}");
        // Old rows can be read as they are.
        let mut connection = bed.pool.acquire().await.expect("a connection");
        let logs =
            executions::views::list(&mut connection, &executions::views::LogFilter::default(), 10).await.expect("logs");
        assert_eq!(logs.iter().map(|log| log.success_count).collect::<Vec<_>>(), [1, 2]);
        let tasks = tasks::list(&mut connection, &tasks::TaskFilter::default(), 10).await.expect("tasks");
        assert_eq!(tasks[0].task.task_name, "每日同步");
        let details =
            details::views::list(&mut connection, ExecutionId(1), &details::views::DetailFilter::default(), 10)
                .await
                .expect("details");
        assert_eq!(details[0].max_cpu, Some(12.5));
    })
    .await;
}

#[tokio::test]
async fn tables_of_the_cmdb_that_exist_stay_as_they_are() {
    on_bed("migrate_cmdb", async |bed| {
        empty(&bed).await;
        sqlx::raw_sql(
            "CREATE TABLE hosts_pool (id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, host_ip VARCHAR(50) UNIQUE,
                 host_name VARCHAR(50), ram INT UNSIGNED, disk_size INT UNSIGNED, is_deleted TINYINT(1) DEFAULT 0,
                 rack VARCHAR(20)) DEFAULT CHARSET = latin1;
             INSERT INTO hosts_pool (host_ip, rack) VALUES ('10.0.0.1', 'r1');
             CREATE TABLE server_resources (id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, ip VARCHAR(50),
                 mon_date DATE, cpu_load DOUBLE, owner VARCHAR(20), UNIQUE KEY one_a_day (ip, mon_date));
             INSERT INTO server_resources (ip, mon_date, owner) VALUES ('10.0.0.1', '2024-01-01', 'ops')",
        )
        .execute(&bed.pool)
        .await
        .expect("the CMDB's own table");
        database::migrate(&bed.database_url()).await.expect("migrated");
        let rack: String = sqlx::query_scalar("SELECT rack FROM hosts_pool").fetch_one(&bed.pool).await.expect("a row");
        assert_eq!(rack, "r1");
        let columns = count(
            &bed.pool,
            "information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'hosts_pool'",
        )
        .await;
        assert_eq!(columns, 7);
        let owner: String =
            sqlx::query_scalar("SELECT owner FROM server_resources").fetch_one(&bed.pool).await.expect("a row");
        assert_eq!(owner, "ops");
        let columns = count(
            &bed.pool,
            "information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'server_resources'",
        )
        .await;
        assert_eq!(columns, 5);
        // A pool in another character set can be copied and looked up all the same.
        let mut connection = bed.pool.acquire().await.expect("a connection");
        let found = hosts_pool::live(&mut connection, &["10.0.0.1", "10.0.0.2"]).await.expect("a pool");
        assert_eq!(found.len(), 1);
        let rows = hosts_pool::rows_after(&mut connection, 0, 10).await.expect("rows");
        assert_eq!(rows.iter().map(|row| row.host_ip.as_deref()).collect::<Vec<_>>(), [Some("10.0.0.1")]);
    })
    .await;
}

#[tokio::test]
async fn texts_of_an_old_installation_hold_every_character_afterwards() {
    on_bed("migrate_utf8", async |bed| {
        empty(&bed).await;
        // As text: MySQL prepares no such statement.
        sqlx::raw_sql(AssertSqlSafe(format!("ALTER DATABASE `{}` CHARACTER SET utf8mb3", bed.name)))
            .execute(&bed.pool)
            .await
            .expect("as old servers had it");
        sqlx::raw_sql(OLD_INSTALLATION).execute(&bed.pool).await.expect("old tables");
        sqlx::raw_sql(
            "ALTER TABLE es_sync_task_config ALTER COLUMN es_index_pattern SET DEFAULT 'it''s-*',
                 MODIFY created_by VARCHAR(100) CHARACTER SET latin1 COMMENT 'who; \"why\"', ADD KEY by_name (task_name(50))",
        )
        .execute(&bed.pool)
        .await
        .expect("more of the same kind");
        for _ in 0..2 {
            database::migrate(&bed.database_url()).await.expect("migrated");
        }
        let name = "数据库-5 😊";
        for (table, given, texts) in [
            ("es_sync_task_config", "cron_expression = '@daily'", ["task_name", "description", "created_by"]),
            (
                "es_sync_execution_log",
                "execution_time = NOW(), execution_status = 'failed'",
                ["task_name", "error_message", "closing_reason"],
            ),
            (
                "es_sync_execution_detail",
                "execution_id = 9, host_ip = '10.0.0.1', sync_status = 'failed'",
                ["host_name", "error_message", "explanation"],
            ),
        ] {
            let texts = texts.map(|column| format!("{column} = '{name}'"));
            let insert = format!("INSERT INTO {table} SET {given}, {}", texts.join(", "));
            sqlx::query(AssertSqlSafe(insert)).execute(&bed.pool).await.expect(table);
            let stored = format!("SELECT COUNT(*) FROM {table} WHERE {}", texts.join(" AND "));
            assert_eq!(bed.count(&stored).await.expect("a count"), 1, "{table}");
        }
        assert_eq!(count(&bed.pool, "es_sync_task_config WHERE task_name = '每日同步'").await, 1);
        assert_eq!(count(&bed.pool, "es_sync_task_config WHERE es_index_pattern = 'it''s-*'").await, 1);
        let comments = "information_schema.columns WHERE table_schema = DATABASE() AND column_name = 'created_by' \
                        AND column_comment = 'who; \"why\"'";
        assert_eq!(count(&bed.pool, comments).await, 1);
    })
    .await;
}

/// Columns that other programs read, as `name type`, and the keys they rely on, as `key(columns)` or `unique(columns)`.
const READ_BY_OTHERS: [(&str, &str, &str); 5] = [
    (
        "hosts_pool",
        "id int unsigned, host_name varchar(50), host_ip varchar(50), host_type varchar(50), disk_size int unsigned, \
         ram int unsigned, vcpus int unsigned, is_deleted tinyint(1), create_time datetime, update_time datetime, \
         delete_time datetime",
        "unique(id) unique(host_ip)",
    ),
    (
        "server_resources",
        "id int unsigned, pool_id int unsigned, ip varchar(50), used_memory double, used_disk double, cpu_load double, \
         cpu_percent_max double, cpu_percent_avg double, cpu_percent_min double, mem_percent_max double, \
         mem_percent_avg double, mem_percent_min double, disk_percent_max double, disk_percent_avg double, \
         disk_percent_min double, mon_date date, is_deleted tinyint(1), delete_time datetime, create_time datetime, \
         update_time datetime",
        "unique(id) unique(ip,mon_date) key(pool_id)",
    ),
    (
        "es_sync_task_config",
        "id bigint unsigned, task_name varchar(255), description text, es_endpoint varchar(500), \
         es_index_pattern varchar(255), cron_expression varchar(100), query_time_range varchar(50), \
         is_enabled tinyint(1), created_by varchar(100), created_at datetime(3), updated_at datetime(3), \
         deleted_at datetime(3)",
        "unique(id)",
    ),
    (
        "es_sync_execution_log",
        "id bigint unsigned, task_id bigint unsigned, task_name varchar(255), execution_time datetime(3), \
         execution_status varchar(50), total_hosts int unsigned, success_count int unsigned, failed_count int unsigned, \
         not_in_pool_count int unsigned, error_message text, duration_ms bigint, query_time_range varchar(50), \
         created_at datetime(3)",
        "unique(id) key(task_id) key(execution_time)",
    ),
    (
        "es_sync_execution_detail",
        "id bigint unsigned, execution_id bigint unsigned, host_ip varchar(50), host_name varchar(255), \
         sync_status varchar(50), error_message text, max_cpu decimal(5,2), avg_cpu decimal(5,2), \
         max_memory decimal(10,2), avg_memory decimal(10,2), max_disk decimal(10,2), avg_disk decimal(10,2), \
         data_point_count int, created_at datetime(3)",
        "unique(id) key(execution_id) key(host_ip)",
    ),
];

/// A type without the display width that MariaDB, and MySQL before 8.0.19, show with integers.
fn without_width(kind: &str) -> String {
    match kind.split_once('(') {
        Some((name, rest)) if name.ends_with("int") && name != "tinyint" => {
            format!("{name}{}", rest.split_once(')').map_or("", |(_, behind)| behind))
        }
        _ => kind.to_owned(),
    }
}

#[tokio::test]
async fn other_programs_find_the_columns_and_keys_that_they_know() {
    on_bed("migrate_columns", async |bed| {
        for (table, columns, keys) in READ_BY_OTHERS {
            let found: Vec<(String, String)> = sqlx::query_as(
                "SELECT CAST(column_name AS CHAR), CAST(column_type AS CHAR) FROM information_schema.columns
                 WHERE table_schema = DATABASE() AND table_name = ?",
            )
            .bind(table)
            .fetch_all(&bed.pool)
            .await
            .expect("columns");
            let found: Vec<String> =
                found.iter().map(|(name, kind)| format!("{name} {}", without_width(kind))).collect();
            for column in columns.split(", ") {
                assert!(found.iter().any(|found| found == column), "{table}: {column} is not among {found:?}");
            }
            let found: Vec<(String, i64)> = sqlx::query_as(
                "SELECT CAST(GROUP_CONCAT(column_name ORDER BY seq_in_index) AS CHAR), CAST(MAX(non_unique) AS SIGNED)
                 FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = ?
                 GROUP BY index_name",
            )
            .bind(table)
            .fetch_all(&bed.pool)
            .await
            .expect("keys");
            for key in keys.split(' ') {
                let (kind, of) = key.trim_end_matches(')').split_once('(').expect("a key");
                let stands =
                    found.iter().any(|(columns, non_unique)| columns == of && (kind == "key" || *non_unique == 0));
                assert!(stands, "{table}: {key} is not among {found:?}");
            }
        }
        let foreign = count(
            &bed.pool,
            "information_schema.key_column_usage WHERE table_schema = DATABASE() AND table_name = 'server_resources'
             AND column_name = 'pool_id' AND referenced_table_name = 'hosts_pool' AND referenced_column_name = 'id'",
        )
        .await;
        assert_eq!(foreign, 1);
        sqlx::query("INSERT INTO es_sync_task_config (task_name, cron_expression) VALUES ('plain', '@daily')")
            .execute(&bed.pool)
            .await
            .expect("inserted");
        sqlx::query("INSERT INTO es_sync_execution_log (execution_status) VALUES ('success')")
            .execute(&bed.pool)
            .await
            .expect("inserted");
        assert_eq!(count(&bed.pool, "es_sync_task_config WHERE query_time_range = '30d'").await, 1);
        assert_eq!(count(&bed.pool, "es_sync_execution_log WHERE task_id = 0").await, 1);
    })
    .await;
}
