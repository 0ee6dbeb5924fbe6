CREATE TABLE page (
    page_id TEXT, url TEXT, host TEXT, domain TEXT, section TEXT, kind TEXT, visit BIGINT,
    location TEXT, status BIGINT, content_type TEXT, etag TEXT, last_modified TEXT,
    fetched_at TIMESTAMP, digest TEXT, num_bytes BIGINT, generation BIGINT, train TEXT,
    evaluate TEXT, warc_file TEXT, warc_offset BIGINT, warc_length BIGINT
);

CREATE TABLE permission (
    page_id TEXT, url TEXT, purpose TEXT, verdict TEXT, reason TEXT, evidence TEXT,
    generation BIGINT
);

-- The fetch log: all requests of the crawl workers, including those for robots.txt.
CREATE TABLE request (
    request_id TEXT, generation BIGINT, worker BIGINT, host TEXT, domain TEXT, address TEXT,
    url TEXT, kind TEXT, started_at DOUBLE, ended_at DOUBLE, status BIGINT, num_bytes BIGINT,
    configured_delay_s DOUBLE, crawl_delay_s DOUBLE, own BOOLEAN, retry_after_s DOUBLE, failure TEXT
);

CREATE TABLE document (
    document_id TEXT, page_id TEXT, url TEXT, title TEXT, text TEXT, language TEXT, extractor TEXT,
    pool TEXT, generation BIGINT, status TEXT, reason TEXT, cluster_id TEXT, cluster_size BIGINT,
    text_digest TEXT, other_digest TEXT, disagreement DOUBLE, num_masked BIGINT
);

-- The text of the second extractor, stored only if the two differ so much that a labeler decides.
CREATE TABLE other_text (document_id TEXT, text TEXT);

-- Quality signals of documents. They are stored so that a changed policy needs no new crawl.
CREATE TABLE signal (document_id TEXT, name TEXT, value DOUBLE);

-- MinHash band keys and sampled word n-gram hashes.
CREATE TABLE band (document_id TEXT, band BIGINT, key UBIGINT, generation BIGINT);

CREATE TABLE gram (document_id TEXT, size BIGINT, hashes UBIGINT[]);

-- The position up to which each file of captures (WARC or document) has been read.
CREATE TABLE ingested (name TEXT, position BIGINT);
