-- There is one table for each record; its columns are the record's fields in order. Tables that
-- grow with the crawl have no primary key, because an index made inserts about 60 times slower
-- (DuckDB 2.0); inserts use an anti-join.

CREATE TABLE run (key TEXT NOT NULL, value TEXT NOT NULL);

CREATE TABLE dropped (generation BIGINT, stage TEXT, reason TEXT, subject TEXT);

CREATE TABLE stage (
    generation BIGINT, name TEXT, started_at TIMESTAMP, finished_at TIMESTAMP, summary TEXT
);
