SELECT shards.shard_id, node, shard_index, table_name, path, shard_files.digest,
    coalesce(made_digest, shard_files.digest) AS content, shard_files.n_bytes, n_rows
FROM shards
JOIN shard_files ON shard_files.shard_id = shards.shard_id
WHERE state = 'committed' AND shard_index >= 0
ORDER BY table_name, node, shard_index, position
