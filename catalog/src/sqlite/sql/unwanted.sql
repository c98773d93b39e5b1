-- Shards that the batch has no use for, as a JSON array of their rows.
-- ?1: nodes that the batch speaks about, JSON or NULL for all; ?2: a shard that stays whatever the batch says;
-- ?3: nodes that the batch does not know of yet; ?4: nodes of which it knows the opening item only.
SELECT json_group_array(shard_id)
FROM shards
WHERE state <> 'retired'
    AND shard_id IS NOT ?2
    AND (?1 IS NULL OR node IN (SELECT value FROM json_each(?1)))
    AND node NOT IN (SELECT value FROM json_each(?3))
    AND NOT (shard_index >= 0 AND node IN (SELECT value FROM json_each(?4)))
    AND NOT EXISTS (
        SELECT 1 FROM temp.wanted
        WHERE wanted.node = shards.node
            AND wanted.shard_index = shards.shard_index
            AND wanted.fingerprint = shards.fingerprint)
