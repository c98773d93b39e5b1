-- ?1: JSON array of [node, shard_index, fingerprint].
SELECT wanted.key, shards.n_in, shards.n_out
FROM json_each(?1) AS wanted
CROSS JOIN shards
    ON shards.node = wanted.value ->> 0
    AND shards.shard_index = wanted.value ->> 1
    AND shards.fingerprint = wanted.value ->> 2
WHERE shards.is_made = 1
