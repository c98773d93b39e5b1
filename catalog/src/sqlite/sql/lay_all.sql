-- Each shard waits for all, and an opening item for all whatever the mapping. ?1: reading nodes, JSON or NULL for all.
INSERT INTO edges (input_shard_id, shard_id, edge_id)
SELECT input.shard_id, reader.shard_id, node_edges.edge_id
FROM node_edges
CROSS JOIN shards AS reader
    ON reader.node = node_edges.to_node AND reader.state <> 'retired'
CROSS JOIN shards AS input
    ON input.node = node_edges.from_node AND input.state <> 'retired'
WHERE (?1 IS NULL OR node_edges.to_node IN (SELECT value FROM json_each(?1)))
    AND (reader.shard_index = -1 OR (node_edges.mapping = 'all' AND NOT EXISTS (
        SELECT 1 FROM shards AS opening
        WHERE opening.node = node_edges.to_node AND opening.shard_index = -1 AND opening.state <> 'retired')))
