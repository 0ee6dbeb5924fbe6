-- What must never be learned again, and since when.
CREATE TABLE IF NOT EXISTS tombstone (url TEXT, domain TEXT, forgotten_at TIMESTAMP, reason TEXT);

CREATE TABLE IF NOT EXISTS forgotten (url TEXT, document_id TEXT, item_id TEXT, generation BIGINT, kind TEXT);

-- Files that documents were exported to, and what was left out of them.
CREATE TABLE IF NOT EXISTS export (path TEXT, pool TEXT, left_out TEXT[]);
