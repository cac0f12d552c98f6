-- One execution of 1,000 hosts, to be copied from tables of its own: from the same table every copy would be written twice.
INSERT INTO es_sync_execution_log
    (id, task_id, task_name, `trigger`, execution_time, finished_at, execution_status, total_hosts, success_count,
     failed_count, duration_ms, query_time_range, window_from, window_to, es_endpoint, es_index_pattern, mapping, prepared_at,
     rolled_up_at)
VALUES (1, 1, 'nightly 1', 'schedule', '2025-01-01', '2025-01-01 00:00:05', 'partial', 1000, 900, 100, 5000, '24h',
        '2024-12-31', '2025-01-01', 'default', 'cluster*:data-zabbix-host-monitor-*', 'zabbix', '2025-01-01', '2025-01-01');
INSERT INTO es_sync_execution_detail
    (execution_id, host_ip, host_name, sync_status, error_message, max_cpu, avg_cpu, max_memory, avg_memory, max_disk,
     avg_disk, data_point_count, created_at, attempts, finished_at, search_id, worker, explanation)
WITH RECURSIVE n AS (SELECT 0 AS n UNION ALL SELECT n + 1 FROM n WHERE n < 999)
SELECT 1, CONCAT('10.0.', n DIV 250, '.', n MOD 250), CONCAT('host-', n), IF(n MOD 10 = 0, 'failed', 'success'),
       IF(n MOD 10 = 0, 'the source gave no whole answer: 3 of 5 shards failed', NULL), 50, 25, 32, 16, 200, 150, 288,
       '2025-01-01', 1, '2025-01-01 00:00:05', 1, 'worker-0/1',
       IF(n MOD 10 = 0, NULL, CONCAT('{"raw":{"documents":288,"cpu":[50.5,20.25,1.125]},"converted":[50.5,32.25,200.5],"x":"',
                                     REPEAT('x', 150), '"}'))
FROM n;

CREATE TABLE history_numbers (n INT UNSIGNED NOT NULL PRIMARY KEY)
WITH RECURSIVE n AS (SELECT 0 AS n UNION ALL SELECT n + 1 FROM n WHERE n < 999) SELECT n FROM n;
CREATE TABLE history_execution AS SELECT * FROM es_sync_execution_log;
CREATE TABLE history_details AS SELECT * FROM es_sync_execution_detail ORDER BY id;
