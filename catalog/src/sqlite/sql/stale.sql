-- Committed shards, back from retirement, of which an input was made again with other bytes meanwhile.
UPDATE shards SET state = 'pending', is_made = 0, n_tries = 0, not_before_ms = 0
WHERE state = 'committed' AND EXISTS (
    SELECT 1
    FROM shard_inputs
    JOIN shards AS input ON input.shard_id = shard_inputs.input_shard_id
    WHERE shard_inputs.shard_id = shards.shard_id AND input.digest IS NOT shard_inputs.input_digest)
