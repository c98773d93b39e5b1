-- Lets a file take the place of another. ?1: shard; ?2: the old path; ?3 to ?5: path, digest and size; ?6: what was kept; ?7: the worker,
-- whose files are swept once it is no longer live.
UPDATE shard_files SET
    path = ?3, digest = ?4, n_bytes = ?5, kept = ?6,
    made_digest = coalesce(made_digest, digest),
    made_bytes = coalesce(made_bytes, n_bytes)
WHERE shard_id = ?1
    AND path = ?2
    AND EXISTS (SELECT 1 FROM shards WHERE shards.shard_id = ?1 AND state = 'committed')
    AND EXISTS (SELECT 1 FROM workers WHERE worker_id = ?7 AND state = 'live')
