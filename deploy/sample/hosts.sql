-- A hundred hosts for a trial: 10.20.0.1 to 10.20.0.100. Those that are there stay as they are.

INSERT IGNORE INTO hosts_pool (host_name, host_ip, host_type, disk_size, ram, vcpus)
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100)
SELECT CONCAT('sample-', n), CONCAT('10.20.0.', n), 'sample', 200, 32, 8 FROM numbers;
