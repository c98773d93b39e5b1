-- The control plane of a project. Times are milliseconds since the Unix epoch, by the catalog's clock. Digests and
-- fingerprints are 64 hexadecimal digits. JSON is text.

-- 'cafe': tells a catalog from somebody else's database.
PRAGMA application_id = 1667327589;

CREATE TABLE plans (
    fingerprint TEXT PRIMARY KEY,
    manifest    TEXT NOT NULL,
    nodes       TEXT NOT NULL CHECK (json_valid(nodes)),
    edges       TEXT NOT NULL CHECK (json_valid(edges)),
    -- The plan with the highest number is the current one.
    n_applied   INTEGER NOT NULL UNIQUE,
    applied_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    run_id     INTEGER PRIMARY KEY AUTOINCREMENT,
    plan       TEXT NOT NULL REFERENCES plans (fingerprint),
    version    TEXT NOT NULL,
    command    TEXT NOT NULL CHECK (json_valid(command)),
    host       TEXT NOT NULL,
    started_ms INTEGER NOT NULL,
    ended_ms   INTEGER,
    outcome    TEXT,
    exit_code  INTEGER
) STRICT;

CREATE TABLE workers (
    worker_id  INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id     INTEGER NOT NULL REFERENCES runs (run_id),
    plan       TEXT NOT NULL REFERENCES plans (fingerprint),
    host       TEXT NOT NULL,
    boot_id    TEXT NOT NULL,
    pid        INTEGER NOT NULL,
    -- Text: the kernel's counter has 64 bits without a sign.
    pid_start  TEXT NOT NULL,
    lease_ms   INTEGER NOT NULL,
    started_ms INTEGER NOT NULL,
    beat_ms    INTEGER NOT NULL,
    state      TEXT NOT NULL DEFAULT 'live' CHECK (state IN ('live', 'dead', 'departed'))
) STRICT;

CREATE INDEX workers_live ON workers (worker_id) WHERE state = 'live';

CREATE TABLE shards (
    shard_id       INTEGER PRIMARY KEY AUTOINCREMENT,
    node           TEXT NOT NULL,
    -- -1 for the item that opens a barrier.
    shard_index    INTEGER NOT NULL CHECK (shard_index >= -1),
    fingerprint    TEXT NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('pending', 'running', 'committed', 'failed', 'retired')),
    -- Inputs that are not committed, one per row of `edges`; kept up to date in every state but 'retired'.
    n_waiting      INTEGER NOT NULL DEFAULT 0 CHECK (n_waiting >= 0),
    not_before_ms  INTEGER NOT NULL DEFAULT 0,
    -- Fencing token, raised with each lease.
    token          INTEGER NOT NULL DEFAULT 0,
    worker_id      INTEGER REFERENCES workers (worker_id),
    depth          INTEGER NOT NULL,
    n_tries        INTEGER NOT NULL DEFAULT 0,
    n_deaths       INTEGER NOT NULL DEFAULT 0,
    micro_batch    INTEGER,
    slice_path     TEXT,
    slice_offset   INTEGER,
    slice_rows     INTEGER,
    slice_digest   TEXT,
    -- Whether the files of the last commit are sound: what brings a retired shard back as committed.
    is_made        INTEGER NOT NULL DEFAULT 0 CHECK (is_made IN (0, 1)),
    -- Of all files of the last commit; kept while the shard is made again, to be compared.
    digest         TEXT,
    n_in           INTEGER NOT NULL DEFAULT 0,
    n_done         INTEGER NOT NULL DEFAULT 0,
    n_quarantined  INTEGER NOT NULL DEFAULT 0,
    n_duplicate    INTEGER NOT NULL DEFAULT 0,
    n_out          INTEGER NOT NULL DEFAULT 0,
    n_bytes        INTEGER NOT NULL DEFAULT 0,
    backend        TEXT,
    message        TEXT,
    -- For an opening item: the slices it found, as JSON.
    opened_slices  TEXT,
    -- Sums over the ended attempts, so that progress need not read the ledger.
    spent_wall_ms           INTEGER NOT NULL DEFAULT 0,
    spent_device_ms         INTEGER NOT NULL DEFAULT 0,
    spent_prompt_tokens     INTEGER NOT NULL DEFAULT 0,
    spent_completion_tokens INTEGER NOT NULL DEFAULT 0,
    spent_n_tries           INTEGER NOT NULL DEFAULT 0,
    UNIQUE (node, shard_index, fingerprint)
) STRICT;

-- What a claim looks at: per node, the shards that wait for nothing.
CREATE INDEX shards_ready ON shards (node, shard_index, not_before_ms, depth) WHERE state = 'pending' AND n_waiting = 0;
-- The barriers.
CREATE INDEX shards_openings ON shards (node) WHERE shard_index = -1;
-- What a dead worker leaves behind.
CREATE INDEX shards_leased ON shards (worker_id) WHERE state = 'running';

CREATE TABLE shard_files (
    shard_id   INTEGER NOT NULL REFERENCES shards (shard_id),
    position   INTEGER NOT NULL,
    table_name TEXT NOT NULL,
    path       TEXT NOT NULL,
    digest     TEXT NOT NULL,
    n_bytes    INTEGER NOT NULL,
    n_rows     INTEGER NOT NULL,
    PRIMARY KEY (shard_id, position)
) STRICT, WITHOUT ROWID;

-- Lineage: what a committed shard was made from.
CREATE TABLE shard_inputs (
    shard_id       INTEGER NOT NULL REFERENCES shards (shard_id),
    input_shard_id INTEGER NOT NULL REFERENCES shards (shard_id),
    input_digest   TEXT NOT NULL,
    PRIMARY KEY (shard_id, input_shard_id)
) STRICT, WITHOUT ROWID;

-- Edges of the current plan between nodes. Number 0 is not here: it marks, in `edges`, that the shards of a barrier
-- node wait for the node's opening item.
CREATE TABLE node_edges (
    edge_id   INTEGER PRIMARY KEY CHECK (edge_id > 0),
    from_node TEXT NOT NULL,
    to_node   TEXT NOT NULL,
    mapping   TEXT NOT NULL CHECK (mapping IN ('same', 'all'))
) STRICT;

CREATE TABLE edge_tables (
    edge_id    INTEGER NOT NULL REFERENCES node_edges (edge_id),
    table_name TEXT NOT NULL,
    PRIMARY KEY (edge_id, table_name)
) STRICT, WITHOUT ROWID;

-- Edges between shards, laid from `node_edges` whenever shards come or go. No foreign keys: rows are only ever written by
-- joins over `shards`, a hundred thousand at a time.
CREATE TABLE edges (
    input_shard_id INTEGER NOT NULL,
    shard_id       INTEGER NOT NULL,
    edge_id        INTEGER NOT NULL,
    PRIMARY KEY (input_shard_id, shard_id, edge_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX edges_reader ON edges (shard_id);

-- The ledger.
CREATE TABLE attempts (
    attempt_id        INTEGER PRIMARY KEY AUTOINCREMENT,
    shard_id          INTEGER NOT NULL REFERENCES shards (shard_id),
    token             INTEGER NOT NULL,
    run_id            INTEGER NOT NULL REFERENCES runs (run_id),
    worker_id         INTEGER NOT NULL REFERENCES workers (worker_id),
    outcome           TEXT NOT NULL DEFAULT 'running' CHECK (outcome IN (
        'running', 'committed', 'released', 'retried', 'failed', 'shrunk', 'hung', 'lost')),
    started_ms        INTEGER NOT NULL,
    wall_ms           INTEGER NOT NULL DEFAULT 0,
    device_ms         INTEGER NOT NULL DEFAULT 0,
    prompt_tokens     INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0,
    n_tries           INTEGER NOT NULL DEFAULT 0,
    n_in              INTEGER NOT NULL DEFAULT 0,
    n_done            INTEGER NOT NULL DEFAULT 0,
    n_out             INTEGER NOT NULL DEFAULT 0,
    n_bytes           INTEGER NOT NULL DEFAULT 0,
    backend           TEXT,
    message           TEXT,
    UNIQUE (shard_id, token)
) STRICT;

CREATE INDEX attempts_running ON attempts (worker_id) WHERE outcome = 'running';

CREATE TABLE quarantine (
    shard_id   INTEGER NOT NULL REFERENCES shards (shard_id),
    row_number INTEGER NOT NULL,
    row_id     TEXT NOT NULL,
    class      TEXT NOT NULL,
    message    TEXT NOT NULL,
    PRIMARY KEY (shard_id, row_number)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    event_id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms    INTEGER NOT NULL,
    run_id   INTEGER REFERENCES runs (run_id),
    kind     TEXT NOT NULL,
    detail   TEXT NOT NULL CHECK (json_valid(detail))
) STRICT;

CREATE TABLE adoptions (
    adoption_id INTEGER PRIMARY KEY AUTOINCREMENT,
    node        TEXT NOT NULL,
    wanted      TEXT NOT NULL,
    taken       TEXT NOT NULL,
    reason      TEXT NOT NULL,
    adopted_ms  INTEGER NOT NULL
) STRICT;

CREATE TABLE releases (
    release_id TEXT PRIMARY KEY,
    ordinal    INTEGER NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    path       TEXT NOT NULL,
    digest     TEXT NOT NULL,
    n_rows     INTEGER NOT NULL,
    summary    TEXT NOT NULL CHECK (json_valid(summary)),
    shard_id   INTEGER NOT NULL REFERENCES shards (shard_id),
    at_ms      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row per accepted unit and release it is in.
CREATE TABLE quadruplets (
    quadruplet_id TEXT NOT NULL,
    release_id    TEXT NOT NULL REFERENCES releases (release_id),
    candidate_id  TEXT NOT NULL,
    reference_id  TEXT NOT NULL,
    round         INTEGER NOT NULL,
    PRIMARY KEY (quadruplet_id, release_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX quadruplets_reference ON quadruplets (reference_id);

-- Iterations of self-distillation.
CREATE TABLE rounds (
    round      INTEGER PRIMARY KEY CHECK (round >= 0),
    run_id     INTEGER REFERENCES runs (run_id),
    started_ms INTEGER NOT NULL,
    ended_ms   INTEGER,
    detail     TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(detail))
) STRICT;

-- Parameters of models, by digest.
CREATE TABLE weights (
    digest  TEXT PRIMARY KEY,
    role    TEXT NOT NULL,
    path    TEXT NOT NULL,
    n_bytes INTEGER NOT NULL,
    round   INTEGER REFERENCES rounds (round),
    at_ms   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What people said about candidates; the last word of a reviewer counts.
CREATE TABLE reviews (
    review_id    INTEGER PRIMARY KEY AUTOINCREMENT,
    candidate_id TEXT NOT NULL,
    reviewer     TEXT NOT NULL,
    is_accepted  INTEGER NOT NULL CHECK (is_accepted IN (0, 1)),
    reason       TEXT,
    at_ms        INTEGER NOT NULL
) STRICT;

CREATE INDEX reviews_candidate ON reviews (candidate_id, reviewer);
