-- ?1: JSON array of shards, each an array.
INSERT OR IGNORE INTO temp.wanted
    (node, shard_index, fingerprint, depth, slice_path, slice_offset, slice_rows, slice_digest)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7
FROM json_each(?1)
