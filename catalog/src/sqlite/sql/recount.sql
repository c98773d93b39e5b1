-- Counts what each shard waits for. ?1: nodes, JSON or NULL for all.
UPDATE shards SET n_waiting = counted.n_waiting
FROM (
    SELECT reader.shard_id, count(input.shard_id) AS n_waiting
    FROM shards AS reader
    LEFT JOIN edges ON edges.shard_id = reader.shard_id
    LEFT JOIN shards AS input ON input.shard_id = edges.input_shard_id AND input.state <> 'committed'
    WHERE reader.state <> 'retired' AND (?1 IS NULL OR reader.node IN (SELECT value FROM json_each(?1)))
    GROUP BY reader.shard_id
) AS counted
WHERE shards.shard_id = counted.shard_id AND shards.n_waiting <> counted.n_waiting
