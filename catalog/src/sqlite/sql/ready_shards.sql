-- The first shards of node ?1 that can be leased now. ?2: number of parts, 0 for no parts; ?3: the part; ?4: limit.
SELECT shard_index, shard_id
FROM shards INDEXED BY shards_ready
WHERE node = ?1
    AND state = 'pending'
    AND n_waiting = 0
    AND not_before_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER)
    AND (?2 = 0 OR (shard_index >= 0 AND shard_index % ?2 = ?3) OR (shard_index = -1 AND ?3 = 0))
ORDER BY shard_index
LIMIT ?4
