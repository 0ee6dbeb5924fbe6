-- URLs and domains that must not be stored or trained on again.
CREATE TABLE tombstone (url TEXT, domain TEXT, forgotten_at TIMESTAMP, reason TEXT);

CREATE TABLE forgotten (
    url TEXT, document_id TEXT, item_id TEXT, generation BIGINT, arm TEXT, kind TEXT
);

-- Files that documents were exported to, and the documents that were left out.
CREATE TABLE export (path TEXT, pool TEXT, left_out TEXT[]);
