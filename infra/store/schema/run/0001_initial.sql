-- One table a record; column order follows the record. No primary keys on the tables that grow with the
-- crawl: an index made inserts some 60 times slower (DuckDB 2.0), so new rows are anti-joined instead.

CREATE TABLE IF NOT EXISTS run (key TEXT NOT NULL, value TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS dropped (generation BIGINT, stage TEXT, reason TEXT, subject TEXT);

CREATE TABLE IF NOT EXISTS stage (
    generation BIGINT, name TEXT, started_at TIMESTAMP, finished_at TIMESTAMP, summary TEXT
);
