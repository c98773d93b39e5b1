-- ?1: shard; ?2: token; ?3: outcome; ?4: message; ?5 to ?9: what it cost; ?10: from lease to work.
UPDATE attempts SET
    outcome = ?3, message = ?4, wall_ms = ?5, device_ms = ?6, prompt_tokens = ?7, completion_tokens = ?8, n_tries = ?9,
    started_ms = started_ms + ?10
WHERE shard_id = ?1 AND token = ?2
