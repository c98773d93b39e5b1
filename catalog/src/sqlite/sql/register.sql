INSERT INTO workers (run_id, plan, host, boot_id, pid, pid_start, lease_ms, started_ms, beat_ms)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7,
    CAST(unixepoch('subsec') * 1000 AS INTEGER), CAST(unixepoch('subsec') * 1000 AS INTEGER))
RETURNING worker_id
