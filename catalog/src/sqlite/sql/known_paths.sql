SELECT path FROM shard_files
UNION
SELECT slice_path FROM shards WHERE slice_path IS NOT NULL
UNION
SELECT slice.value ->> 'path' FROM shards CROSS JOIN json_each(shards.opened_slices) AS slice
WHERE shard_index = -1 AND opened_slices IS NOT NULL
