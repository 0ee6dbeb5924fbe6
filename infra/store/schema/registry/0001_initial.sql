-- The moves of the aliases (champion, best:SUITE). Rows are added and never changed.
CREATE TABLE alias_event (
    number BIGINT, alias TEXT, digest TEXT, generation BIGINT, moved_at TIMESTAMP, reason TEXT,
    attempt BIGINT
);
