-- Which of the nodes (?1, JSON) have shards that wait for nothing, and how deep they are. All shards of a node are
-- equally deep, so that one look at each is enough. Shards of a barrier node are held while its opening item waits for an input that is
-- made again: they read it too. A worker (?2) that was declared dead, or whose plan is no longer the current one, gets nothing.
SELECT node, depth, run_id
FROM (
    SELECT wanted.value AS node, workers.run_id, (
        SELECT depth FROM shards INDEXED BY shards_ready
        WHERE shards.node = wanted.value AND state = 'pending' AND n_waiting = 0
        LIMIT 1) AS depth
    FROM workers CROSS JOIN (SELECT DISTINCT value FROM json_each(?1)) AS wanted
    WHERE workers.worker_id = ?2
        AND workers.state = 'live'
        AND workers.plan = (SELECT fingerprint FROM plans ORDER BY n_applied DESC LIMIT 1)
) AS ready
WHERE depth IS NOT NULL
    AND NOT EXISTS (
        SELECT 1 FROM shards AS opening
        WHERE opening.node = ready.node
            AND opening.shard_index = -1 AND opening.state <> 'retired' AND opening.n_waiting > 0)
ORDER BY depth DESC
