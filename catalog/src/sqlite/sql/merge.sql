-- Brings the wanted shards into the plan. Counts only rows that really change.
INSERT INTO shards
    (node, shard_index, fingerprint, state, depth, slice_path, slice_offset, slice_rows, slice_digest)
SELECT node, shard_index, fingerprint, 'pending', depth, slice_path, slice_offset, slice_rows, slice_digest
FROM temp.wanted
WHERE true
ON CONFLICT (node, shard_index, fingerprint) DO UPDATE SET
    state = CASE
        WHEN state = 'retired' AND is_made = 1 THEN 'committed'
        WHEN state IN ('retired', 'failed') THEN 'pending'
        ELSE state END,
    n_tries = CASE WHEN state IN ('retired', 'failed') THEN 0 ELSE n_tries END,
    not_before_ms = CASE WHEN state IN ('retired', 'failed') THEN 0 ELSE not_before_ms END,
    depth = excluded.depth,
    slice_path = excluded.slice_path,
    slice_offset = excluded.slice_offset,
    slice_rows = excluded.slice_rows,
    slice_digest = excluded.slice_digest
WHERE state IN ('retired', 'failed')
    OR depth <> excluded.depth
    OR slice_path IS NOT excluded.slice_path
    OR slice_offset IS NOT excluded.slice_offset
    OR slice_rows IS NOT excluded.slice_rows
    OR slice_digest IS NOT excluded.slice_digest
