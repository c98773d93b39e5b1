-- Shards that read one of ?1 (JSON) wait for it again.
UPDATE shards SET n_waiting = n_waiting + counted.n_edges
FROM (
    SELECT shard_id, count(*) AS n_edges FROM edges
    WHERE input_shard_id IN (SELECT value FROM json_each(?1))
    GROUP BY shard_id
) AS counted
WHERE shards.shard_id = counted.shard_id AND shards.state <> 'retired'
