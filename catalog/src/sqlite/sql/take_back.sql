-- Gives leased shards back. ?1: shards, JSON; ?2: deaths to count; ?3: message.
UPDATE shards SET
    state = 'pending',
    worker_id = NULL,
    n_deaths = n_deaths + ?2,
    message = ?3,
    spent_wall_ms = spent_wall_ms + coalesce((
        SELECT wall_ms FROM attempts
        WHERE attempts.shard_id = shards.shard_id AND attempts.token = shards.token), 0)
WHERE state = 'running' AND shard_id IN (SELECT value FROM json_each(?1))
