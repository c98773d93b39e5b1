INSERT INTO releases (release_id, ordinal, name, path, digest, n_rows, summary, shard_id, at_ms)
SELECT ?1, coalesce(max(ordinal), 0) + 1, ?2, ?3, ?4, ?5, ?6, ?7, CAST(unixepoch('subsec') * 1000 AS INTEGER)
FROM releases
WHERE true
ON CONFLICT (release_id) DO UPDATE SET path = excluded.path, shard_id = excluded.shard_id
WHERE digest = excluded.digest
