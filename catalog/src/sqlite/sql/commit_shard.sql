-- Five statements in one go, each on its own a trip to the connection's thread. ?1: shard; ?2: token; ?3: files, JSON;
-- ?4 to ?8: what the attempt cost; ?9 and ?10: rows read and done; ?11 and ?12: rows and bytes written; ?13: backend;
-- ?14 and ?15: rows in quarantine and duplicates; ?16: digest; ?17: opened slices; ?18: from lease to work. (The
-- driver takes a number that a statement skips for one argument of its own: few may be skipped.)
INSERT INTO shard_files (shard_id, position, table_name, path, digest, n_bytes, n_rows)
SELECT ?1, file.key, value ->> 'table', value ->> 'path', value ->> 'digest', value ->> 'n_bytes', value ->> 'n_rows'
FROM json_each(?3) AS file;

-- Lineage. (The shard cannot have been made from older inputs than those of now: when an input is made again with other
-- bytes, the leases of its readers are taken back.)
INSERT INTO shard_inputs (shard_id, input_shard_id, input_digest)
SELECT DISTINCT edges.shard_id, input.shard_id, input.digest
FROM edges
CROSS JOIN shards AS input ON input.shard_id = edges.input_shard_id
WHERE edges.shard_id = ?1;

UPDATE attempts SET
    outcome = 'committed', message = NULL, started_ms = started_ms + ?18,
    wall_ms = ?4, device_ms = ?5, prompt_tokens = ?6, completion_tokens = ?7, n_tries = ?8,
    n_in = ?9, n_done = ?10, n_out = ?11, n_bytes = ?12, backend = ?13
WHERE shard_id = ?1 AND token = ?2;

UPDATE shards SET
    state = 'committed', is_made = 1, worker_id = NULL, message = NULL, n_tries = 0, not_before_ms = 0,
    spent_wall_ms = spent_wall_ms + ?4,
    spent_device_ms = spent_device_ms + ?5,
    spent_prompt_tokens = spent_prompt_tokens + ?6,
    spent_completion_tokens = spent_completion_tokens + ?7,
    spent_n_tries = spent_n_tries + ?8,
    n_in = ?9, n_done = ?10, n_out = ?11, n_bytes = ?12, backend = ?13, n_quarantined = ?14, n_duplicate = ?15,
    digest = ?16, opened_slices = ?17
WHERE shard_id = ?1 AND token = ?2;

-- Those that read it come closer to ready.
UPDATE shards SET n_waiting = n_waiting - counted.n_edges
FROM (SELECT shard_id, count(*) AS n_edges FROM edges WHERE input_shard_id = ?1 GROUP BY shard_id) AS counted
WHERE shards.shard_id = counted.shard_id AND shards.state <> 'retired'
