-- The shards of a barrier node wait for its opening item. ?1: nodes, JSON or NULL for all.
INSERT INTO edges (input_shard_id, shard_id, edge_id)
SELECT opening.shard_id, opened.shard_id, 0
FROM shards AS opening
CROSS JOIN shards AS opened
    ON opened.node = opening.node AND opened.shard_index >= 0 AND opened.state <> 'retired'
WHERE opening.shard_index = -1
    AND opening.state <> 'retired'
    AND (?1 IS NULL OR opening.node IN (SELECT value FROM json_each(?1)))
