-- The shards of the batch that is being written; private to the connection.
CREATE TEMP TABLE wanted (
    node         TEXT NOT NULL,
    shard_index  INTEGER NOT NULL,
    fingerprint  TEXT NOT NULL,
    depth        INTEGER NOT NULL,
    slice_path   TEXT,
    slice_offset INTEGER,
    slice_rows   INTEGER,
    slice_digest TEXT,
    PRIMARY KEY (node, shard_index, fingerprint)
) STRICT, WITHOUT ROWID;
