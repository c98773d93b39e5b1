SELECT attempt_id, attempts.shard_id, node, shard_index, run_id, attempts.worker_id, outcome, started_ms, wall_ms, device_ms,
    prompt_tokens, completion_tokens, attempts.n_tries, attempts.n_done, attempts.backend, attempts.message
FROM attempts
JOIN shards ON shards.shard_id = attempts.shard_id
ORDER BY attempt_id
