-- The frontier: queues of URLs by host. It is in SQLite because its operations read and write
-- single rows in order of priority, for which a column store scans the table
-- (benchmarks/frontier.py measures both).

CREATE TABLE host (
    host_id INTEGER PRIMARY KEY,
    host TEXT NOT NULL UNIQUE,
    domain TEXT NOT NULL,
    shard INTEGER NOT NULL,
    worker INTEGER NOT NULL,
    pending INTEGER NOT NULL DEFAULT 0,
    busy INTEGER NOT NULL DEFAULT 0,        -- 1 while a worker visits the host
    open INTEGER NOT NULL DEFAULT 1,        -- 0 if its budget is spent or it looks like a trap
    score REAL NOT NULL DEFAULT 0,          -- highest priority among its pending URLs
    draw INTEGER NOT NULL,                  -- random order, for exploration
    not_before REAL NOT NULL DEFAULT 0,
    delay_s REAL NOT NULL DEFAULT 0,
    pages INTEGER NOT NULL DEFAULT 0,       -- of this generation
    bytes INTEGER NOT NULL DEFAULT 0,       -- of this generation
    total_pages INTEGER NOT NULL DEFAULT 0,
    total_documents INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX host_by_score ON host (worker, score DESC) WHERE pending > 0 AND busy = 0 AND open = 1;
CREATE INDEX host_by_draw ON host (worker, draw) WHERE pending > 0 AND busy = 0 AND open = 1;
CREATE INDEX host_by_domain ON host (domain);

CREATE TABLE domain (
    domain TEXT PRIMARY KEY, pages INTEGER NOT NULL, bytes INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE section (
    section_id INTEGER PRIMARY KEY,
    host_id INTEGER NOT NULL,
    path TEXT NOT NULL,
    value REAL NOT NULL,
    UNIQUE (host_id, path)
);

CREATE TABLE url (
    key INTEGER PRIMARY KEY,                -- 63 bits of the URL's hash
    url TEXT NOT NULL,
    host_id INTEGER NOT NULL,
    section_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    state INTEGER NOT NULL,                 -- infra.store.frontier.records.State
    depth INTEGER NOT NULL,
    weight REAL NOT NULL,
    priority REAL NOT NULL,
    generation INTEGER NOT NULL,
    visits INTEGER NOT NULL DEFAULT 0,
    changes INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    visited_generation INTEGER NOT NULL DEFAULT -1,
    first_visit REAL NOT NULL DEFAULT 0,
    last_visit REAL NOT NULL DEFAULT 0,
    due_at REAL NOT NULL DEFAULT 0,
    lease_until REAL NOT NULL DEFAULT 0,
    lease_worker INTEGER NOT NULL DEFAULT -1,
    etag TEXT NOT NULL DEFAULT '',
    last_modified TEXT NOT NULL DEFAULT '',
    digest TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT ''
);
CREATE INDEX url_by_priority ON url (host_id, state, priority DESC);
CREATE INDEX url_by_lot ON url (host_id, key) WHERE state = 0;
CREATE INDEX url_by_lease ON url (lease_until) WHERE state = 1;

-- The last response to each origin's robots.txt, the last good copy, and its tdmrep.json.
CREATE TABLE robots (
    origin TEXT PRIMARY KEY,
    fetched_at REAL NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL,
    good_at REAL NOT NULL,
    good_body BLOB NOT NULL,
    reservation BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE generation (
    generation INTEGER PRIMARY KEY,
    started_at REAL NOT NULL,
    pages INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0
);
