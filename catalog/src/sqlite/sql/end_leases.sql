-- Ends the running attempts of shards whose lease is taken away. A dead worker is known to have worked until its last
-- heartbeat, a live one until now. ?1: shards, JSON; ?2: outcome; ?3: message.
UPDATE attempts SET
    outcome = ?2,
    message = ?3,
    wall_ms = max(wall_ms, CASE ?2
        WHEN 'lost' THEN (SELECT beat_ms FROM workers WHERE workers.worker_id = attempts.worker_id)
        ELSE CAST(unixepoch('subsec') * 1000 AS INTEGER) END - started_ms)
WHERE outcome = 'running' AND shard_id IN (SELECT value FROM json_each(?1))
