-- Makes a plan the current one; keeps its number when it is that already.
INSERT INTO plans (fingerprint, manifest, nodes, edges, n_applied, applied_ms)
SELECT ?1, ?2, ?3, ?4, coalesce(max(n_applied), 0) + 1, CAST(unixepoch('subsec') * 1000 AS INTEGER) FROM plans
WHERE true
ON CONFLICT (fingerprint) DO UPDATE SET
    manifest = excluded.manifest,
    nodes = excluded.nodes,
    edges = excluded.edges,
    n_applied = CASE WHEN n_applied = excluded.n_applied - 1 THEN n_applied ELSE excluded.n_applied END,
    applied_ms = CASE WHEN n_applied = excluded.n_applied - 1 THEN applied_ms ELSE excluded.applied_ms END
