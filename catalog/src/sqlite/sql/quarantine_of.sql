-- ?1: JSON array of [node, shard_index, fingerprint].
SELECT node, shard_index, row_number, row_id, class, quarantine.message
FROM json_each(?1) AS wanted
CROSS JOIN shards
    ON shards.node = wanted.value ->> 0
    AND shards.shard_index = wanted.value ->> 1
    AND shards.fingerprint = wanted.value ->> 2
JOIN quarantine ON quarantine.shard_id = shards.shard_id
WHERE shards.is_made = 1
ORDER BY node, shard_index, row_number
