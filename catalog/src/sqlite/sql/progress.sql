-- Counts of each node. Rows of an opening item are those of its node's shards: they are counted there. A node whose opening
-- item waits for an input that is made again is held: none of its shards is ready.
SELECT shards.node AS node,
    count(*) FILTER (WHERE state = 'pending') AS n_pending,
    count(*) FILTER (WHERE state = 'pending' AND n_waiting = 0 AND held.node IS NULL) AS n_ready,
    count(*) FILTER (WHERE state = 'running') AS n_running,
    count(*) FILTER (WHERE state = 'committed') AS n_committed,
    count(*) FILTER (WHERE state = 'failed') AS n_failed,
    coalesce(sum(n_in) FILTER (WHERE state = 'committed' AND shard_index >= 0), 0) AS n_in,
    coalesce(sum(n_done) FILTER (WHERE state = 'committed' AND shard_index >= 0), 0) AS n_done,
    coalesce(sum(n_quarantined) FILTER (WHERE state = 'committed' AND shard_index >= 0), 0) AS n_quarantined,
    coalesce(sum(n_duplicate) FILTER (WHERE state = 'committed' AND shard_index >= 0), 0) AS n_duplicate,
    coalesce(sum(n_out) FILTER (WHERE state = 'committed'), 0) AS n_out,
    coalesce(sum(n_bytes) FILTER (WHERE state = 'committed'), 0) AS n_bytes,
    sum(spent_wall_ms) + coalesce(max(running.wall_ms), 0) AS wall_ms,
    sum(spent_device_ms) AS device_ms,
    sum(spent_prompt_tokens) AS prompt_tokens,
    sum(spent_completion_tokens) AS completion_tokens,
    sum(spent_n_tries) AS n_tries,
    max(0, min(not_before_ms) FILTER (WHERE state = 'pending' AND n_waiting = 0 AND held.node IS NULL)
        - CAST(unixepoch('subsec') * 1000 AS INTEGER)) AS next_ready_ms
FROM shards
LEFT JOIN (
    -- What running attempts have cost up to their worker's last heartbeat.
    SELECT leased.node, sum(attempts.wall_ms) AS wall_ms
    FROM attempts
    JOIN shards AS leased ON leased.shard_id = attempts.shard_id
    WHERE attempts.outcome = 'running'
    GROUP BY leased.node
) AS running ON running.node = shards.node
LEFT JOIN (
    SELECT DISTINCT node FROM shards WHERE shard_index = -1 AND state <> 'retired' AND n_waiting > 0
) AS held ON held.node = shards.node
WHERE state <> 'retired'
GROUP BY shards.node
ORDER BY min(depth), shards.node
