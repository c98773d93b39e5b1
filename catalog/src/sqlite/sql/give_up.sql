-- ?1: shard; ?2: token; ?3: new state; ?4: tries more; ?5: back-off; ?6: micro-batch or NULL; ?7: whether it hung;
-- ?8: message; ?9 to ?13: what the attempt cost.
UPDATE shards SET
    state = ?3,
    worker_id = NULL,
    n_tries = n_tries + ?4,
    not_before_ms = CASE WHEN ?5 > 0 THEN CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?5 ELSE 0 END,
    micro_batch = coalesce(?6, micro_batch),
    n_deaths = CASE WHEN ?7 THEN max(n_deaths + 1, 2) ELSE n_deaths END,
    message = ?8,
    spent_wall_ms = spent_wall_ms + ?9,
    spent_device_ms = spent_device_ms + ?10,
    spent_prompt_tokens = spent_prompt_tokens + ?11,
    spent_completion_tokens = spent_completion_tokens + ?12,
    spent_n_tries = spent_n_tries + ?13
WHERE shard_id = ?1 AND token = ?2 AND state = 'running'
