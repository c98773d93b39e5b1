-- Shards that were made, or are being made, from other bytes of shard ?1 than those with digest ?2.
SELECT DISTINCT reader.shard_id, reader.state = 'running'
FROM edges
JOIN shards AS reader ON reader.shard_id = edges.shard_id
LEFT JOIN shard_inputs
    ON shard_inputs.shard_id = reader.shard_id AND shard_inputs.input_shard_id = edges.input_shard_id
WHERE edges.input_shard_id = ?1
    AND (reader.state = 'running' OR (reader.state = 'committed' AND shard_inputs.input_digest IS NOT ?2))
