-- compacted files
-- Files of committed shards from which pictures of rejected rows were dropped (`keep_rejects`). Columns that are NULL for every file
-- of before, so that no row is touched: a moment, for any number of shards. Nothing is lost by it.

-- What was kept of rejected rows; NULL for a file that is as it was committed.
ALTER TABLE shard_files ADD COLUMN kept TEXT CHECK (kept IN ('thumbnail', 'scores'));
-- Digest and size of the file that was committed, where `digest` and `n_bytes` are those of another now.
ALTER TABLE shard_files ADD COLUMN made_digest TEXT;
ALTER TABLE shard_files ADD COLUMN made_bytes INTEGER;
