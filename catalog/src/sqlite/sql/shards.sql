-- A row per shard and file. ?1: node, or NULL for all.
SELECT shards.shard_id, node, shard_index, fingerprint, state, backend, message,
    CASE state WHEN 'committed' THEN n_in ELSE 0 END AS n_in,
    CASE state WHEN 'committed' THEN n_done ELSE 0 END AS n_done,
    CASE state WHEN 'committed' THEN n_quarantined ELSE 0 END AS n_quarantined,
    CASE state WHEN 'committed' THEN n_duplicate ELSE 0 END AS n_duplicate,
    slice_path, slice_offset, slice_rows, slice_digest,
    table_name, path, shard_files.digest AS file_digest, shard_files.n_bytes AS file_bytes, n_rows AS file_rows,
    kept, made_digest, made_bytes
FROM shards
LEFT JOIN shard_files ON shard_files.shard_id = shards.shard_id AND state = 'committed'
WHERE state <> 'retired' AND (?1 IS NULL OR node = ?1)
ORDER BY node, shard_index, shards.shard_id, position
