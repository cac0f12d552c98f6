-- Adds @chunk executions behind the last one, @shift, an hour apart, each with the 1,000 hosts of the first.
INSERT INTO es_sync_execution_log
    (id, task_id, task_name, `trigger`, execution_time, finished_at, execution_status, total_hosts, success_count,
     failed_count, duration_ms, query_time_range, window_from, window_to, es_endpoint, es_index_pattern, mapping, prepared_at,
     rolled_up_at)
SELECT @shift + n.n, (@shift + n.n) MOD 100 + 1, CONCAT('nightly ', (@shift + n.n) MOD 100 + 1), `trigger`,
       '2025-01-01' + INTERVAL (@shift + n.n) HOUR, finished_at, execution_status, total_hosts, success_count, failed_count,
       duration_ms, query_time_range, window_from, window_to, es_endpoint, es_index_pattern, mapping, prepared_at, rolled_up_at
FROM history_numbers AS n STRAIGHT_JOIN history_execution WHERE n.n BETWEEN 1 AND @chunk;
INSERT INTO es_sync_execution_detail
    (execution_id, host_ip, host_name, sync_status, error_message, max_cpu, avg_cpu, max_memory, avg_memory, max_disk,
     avg_disk, data_point_count, created_at, attempts, finished_at, search_id, worker, explanation)
SELECT @shift + n.n, host_ip, host_name, sync_status, error_message, max_cpu, avg_cpu, max_memory, avg_memory,
       max_disk, avg_disk, data_point_count, created_at, attempts, finished_at, search_id, worker, explanation
FROM history_numbers AS n STRAIGHT_JOIN history_details WHERE n.n BETWEEN 1 AND @chunk;
