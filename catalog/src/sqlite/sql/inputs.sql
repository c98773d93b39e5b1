-- The files that shards (?1, JSON) read; those of a barrier node read what its opening item read
-- along edges that map all. A table read along two
-- edges comes once.
SELECT DISTINCT wanted.reader_id, input.shard_id, input.node, input.shard_index,
    shard_files.table_name, shard_files.path, shard_files.digest,
    coalesce(shard_files.made_digest, shard_files.digest) AS content, shard_files.n_bytes, shard_files.n_rows
FROM (
    SELECT reader.value AS reader_id, edges.input_shard_id, edges.edge_id
    FROM json_each(?1) AS reader
    CROSS JOIN edges ON edges.shard_id = reader.value AND edges.edge_id > 0
    UNION ALL
    SELECT reader.value AS reader_id, behind.input_shard_id, behind.edge_id
    FROM json_each(?1) AS reader
    CROSS JOIN edges AS opening ON opening.shard_id = reader.value AND opening.edge_id = 0
    CROSS JOIN edges AS behind ON behind.shard_id = opening.input_shard_id
    CROSS JOIN node_edges ON node_edges.edge_id = behind.edge_id AND node_edges.mapping = 'all'
) AS wanted
CROSS JOIN shards AS input ON input.shard_id = wanted.input_shard_id AND input.shard_index >= 0
CROSS JOIN edge_tables ON edge_tables.edge_id = wanted.edge_id
CROSS JOIN shard_files ON shard_files.shard_id = input.shard_id AND shard_files.table_name = edge_tables.table_name
ORDER BY reader_id, shard_files.table_name, input.node, input.shard_index
