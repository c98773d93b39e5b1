-- The files that shards (?1, JSON) read. A table read along two edges comes once.
SELECT DISTINCT edges.shard_id AS reader_id, input.shard_id, input.node, input.shard_index,
    shard_files.table_name, shard_files.path, shard_files.digest, shard_files.n_bytes, shard_files.n_rows
FROM json_each(?1) AS reader
CROSS JOIN edges ON edges.shard_id = reader.value
CROSS JOIN shards AS input ON input.shard_id = edges.input_shard_id AND input.shard_index >= 0
CROSS JOIN edge_tables ON edge_tables.edge_id = edges.edge_id
CROSS JOIN shard_files ON shard_files.shard_id = input.shard_id AND shard_files.table_name = edge_tables.table_name
ORDER BY reader_id, shard_files.table_name, input.node, input.shard_index
