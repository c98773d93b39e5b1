-- Leases shards and opens their attempts. ?1: shards, JSON; ?2: worker; ?3: run.
UPDATE shards SET state = 'running', token = token + 1, worker_id = ?2
WHERE shard_id IN (SELECT value FROM json_each(?1))
RETURNING shard_id, node, shard_index, fingerprint, token, n_tries, n_deaths, micro_batch,
    slice_path, slice_offset, slice_rows, slice_digest;

INSERT INTO attempts (shard_id, token, worker_id, run_id, started_ms)
SELECT shard_id, token, ?2, ?3, CAST(unixepoch('subsec') * 1000 AS INTEGER)
FROM shards WHERE shard_id IN (SELECT value FROM json_each(?1))
