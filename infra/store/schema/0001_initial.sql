-- One table a record; column order follows the record. No primary keys on the tables that grow with the
-- crawl: an index made inserts some 60 times slower (DuckDB 2.0), so new rows are anti-joined instead.

CREATE TABLE run (key TEXT NOT NULL, value TEXT NOT NULL);

CREATE TABLE page (
    page_id TEXT, url TEXT, host TEXT, domain TEXT, section TEXT, kind TEXT, visit BIGINT, location TEXT,
    status BIGINT, content_type TEXT, etag TEXT, last_modified TEXT, fetched_at TIMESTAMP, digest TEXT,
    num_bytes BIGINT, generation BIGINT, train TEXT, evaluate TEXT,
    warc_file TEXT, warc_offset BIGINT, warc_length BIGINT
);

CREATE TABLE permission (
    page_id TEXT, url TEXT, purpose TEXT, verdict TEXT, reason TEXT, evidence TEXT, generation BIGINT
);

-- The fetch log: every request that left a crawl worker, robots.txt included.
CREATE TABLE request (
    request_id TEXT, generation BIGINT, worker BIGINT, host TEXT, domain TEXT, address TEXT, url TEXT, kind TEXT,
    started_at DOUBLE, ended_at DOUBLE, status BIGINT, num_bytes BIGINT, configured_delay_s DOUBLE,
    crawl_delay_s DOUBLE, own BOOLEAN, retry_after_s DOUBLE, failure TEXT
);

CREATE TABLE document (
    document_id TEXT, page_id TEXT, url TEXT, title TEXT, text TEXT, language TEXT, extractor TEXT, pool TEXT,
    generation BIGINT, status TEXT, reason TEXT, cluster_id TEXT, cluster_size BIGINT, text_digest TEXT,
    other_digest TEXT, disagreement DOUBLE, num_masked BIGINT
);

-- What another extractor made of a page, where the two disagree so much that a labeler decides.
CREATE TABLE other_text (document_id TEXT, text TEXT);

-- Numbers about a document's text; a policy reads them, so that it can change without a new crawl.
CREATE TABLE signal (document_id TEXT, name TEXT, value DOUBLE);

-- MinHash band keys and sampled word n-gram hashes.
CREATE TABLE band (document_id TEXT, band BIGINT, key UBIGINT, generation BIGINT);
CREATE TABLE gram (document_id TEXT, size BIGINT, hashes UBIGINT[]);

-- How far containers of captures (WARC files) have been read.
CREATE TABLE ingested (name TEXT, position BIGINT);

-- What must never be learned again, and since when.
CREATE TABLE tombstone (url TEXT, domain TEXT, forgotten_at TIMESTAMP, reason TEXT);
CREATE TABLE forgotten (url TEXT, document_id TEXT, item_id TEXT, generation BIGINT, kind TEXT);

-- Files that documents were exported to, and what was left out of them.
CREATE TABLE export (path TEXT, pool TEXT, left_out TEXT[]);

CREATE TABLE sample (
    sample_id TEXT, document_id TEXT, kind TEXT, prompt TEXT, completion TEXT, origin TEXT, generation BIGINT,
    source_start BIGINT, source_end BIGINT, "check" TEXT
);

CREATE TABLE judgment (
    judgment_id TEXT, subject_id TEXT, labeler TEXT, rubric TEXT, method TEXT, status TEXT, reason TEXT, value DOUBLE,
    detail TEXT, num_tokens BIGINT, generation BIGINT, mode TEXT, verdict TEXT, labels TEXT[], distribution DOUBLE[],
    entropy DOUBLE, gap DOUBLE, completion_tokens BIGINT, subject_hashes TEXT[], rubric_digest TEXT,
    template_digest TEXT, seed BIGINT, raw TEXT
);

CREATE TABLE datasheet (
    datasheet_id TEXT, labeler TEXT, rubric TEXT, method TEXT, gold TEXT, gold_digest TEXT, num_pairs BIGINT,
    num_unscored BIGINT,
    accuracy STRUCT("value" DOUBLE, low DOUBLE, high DOUBLE),
    admission_low DOUBLE,
    baselines STRUCT(majority DOUBLE, longer DOUBLE),
    kappa STRUCT("value" DOUBLE, low DOUBLE, high DOUBLE),
    probabilities STRUCT(
        kind TEXT, temperature DOUBLE, brier DOUBLE, ece DOUBLE, brier_calibrated DOUBLE, ece_calibrated DOUBLE
    ),
    consistency DOUBLE,
    right_if_consistent DOUBLE,
    habits STRUCT(
        first_place_gap STRUCT("value" DOUBLE, low DOUBLE, high DOUBLE),
        length_slope STRUCT("value" DOUBLE, low DOUBLE, high DOUBLE),
        discrimination STRUCT("value" DOUBLE, low DOUBLE, high DOUBLE)
    ),
    robustness STRUCT(
        ladder DOUBLE[], over_empty DOUBLE, identical_ties DOUBLE,
        attack_success STRUCT("value" DOUBLE, low DOUBLE, high DOUBLE)
    ),
    errors STRUCT(num_a BIGINT, right_a BIGINT, num_b BIGINT, right_b BIGINT),
    cost STRUCT(seconds DOUBLE, num_tokens BIGINT, price_per_thousand DOUBLE)
);

-- The judgments that a datasheet is computed from.
CREATE TABLE gold_item (
    datasheet_id TEXT, part TEXT, place BIGINT, judgment_id TEXT, length_a BIGINT, length_b BIGINT
);

-- Answers of labelers by everything they depend on; what `numbers` are depends on the mode, which is in the key.
CREATE TABLE verdict (
    key TEXT, numbers DOUBLE[], distribution DOUBLE[], prompt_tokens BIGINT, completion_tokens BIGINT, raw TEXT
);
CREATE TABLE verdict_failure (key TEXT, reason TEXT, retry_at TIMESTAMP);

-- How surprised a model is at a passage: what it finds easiest teaches it least.
CREATE TABLE surprise (generation BIGINT, model_digest TEXT, sample_id TEXT, bits_per_byte DOUBLE);

CREATE TABLE head (
    generation BIGINT, encoder TEXT, weights DOUBLE[], intercept DOUBLE, num_passages BIGINT, correlation DOUBLE,
    correlation_low DOUBLE, correlation_high DOUBLE, by_length DOUBLE, admitted BOOLEAN, drift_correlation DOUBLE,
    drift_bias DOUBLE
);

CREATE TABLE win_rate (
    generation BIGINT, labeler TEXT, rubric TEXT, model TEXT, other TEXT, num_pairs BIGINT, said DOUBLE,
    said_low DOUBLE, said_high DOUBLE, corrected DOUBLE, low DOUBLE, high DOUBLE, why TEXT
);

CREATE TABLE completion (
    completion_id TEXT, sample_id TEXT, model_digest TEXT, index BIGINT, text TEXT, num_tokens BIGINT,
    generation BIGINT
);

CREATE TABLE preference (
    preference_id TEXT, sample_id TEXT, prompt TEXT, chosen TEXT, rejected TEXT, chosen_origin TEXT, labeler TEXT,
    probability DOUBLE, margin DOUBLE, generation BIGINT, rejected_model TEXT, place BIGINT
);

CREATE TABLE probe_result (
    result_id TEXT, labeler TEXT, rubric TEXT, method TEXT, probe TEXT, half TEXT, num_pairs BIGINT, accuracy DOUBLE,
    lower DOUBLE, upper DOUBLE, auc DOUBLE
);

CREATE TABLE admission (
    admission_id TEXT, labeler TEXT, rubric TEXT, method TEXT, admitted BOOLEAN, reason TEXT, temperature DOUBLE
);

CREATE TABLE train_step (
    generation BIGINT, kind TEXT, step BIGINT, loss DOUBLE, grad_norm DOUBLE, learning_rate DOUBLE,
    num_tokens BIGINT, seconds DOUBLE, row_ids TEXT[], metrics TEXT
);

CREATE TABLE checkpoint (
    digest TEXT, path TEXT, parent TEXT, generation BIGINT, manifest_digest TEXT, recipe_digest TEXT, seed BIGINT,
    created_at TIMESTAMP
);

-- Which sample or preference a generation was trained on.
CREATE TABLE manifest (generation BIGINT, kind TEXT, item_id TEXT);

-- What the data policy measured before a generation was trained.
CREATE TABLE data_fact (generation BIGINT, name TEXT, value DOUBLE, low DOUBLE, high DOUBLE);

CREATE TABLE attempt (attempt BIGINT, generation BIGINT, candidate TEXT, champion TEXT, registered_at TIMESTAMP);

-- Items of a suite (held-out documents, lines of a file) that an attempt has drawn. Of what is not to be used again,
-- no unit is drawn twice.
CREATE TABLE burned (attempt BIGINT, suite TEXT, position BIGINT, item_id TEXT, unit TEXT);

CREATE TABLE item_score (
    attempt BIGINT, suite TEXT, item_id TEXT, position BIGINT, model_digest TEXT, value DOUBLE, size BIGINT,
    detail TEXT, unit TEXT
);

CREATE TABLE evaluation (
    attempt BIGINT, generation BIGINT, suite TEXT, metric TEXT, model_digest TEXT, value DOUBLE,
    standard_error DOUBLE, num_items BIGINT
);

CREATE TABLE decision (
    attempt BIGINT, generation BIGINT, outcome TEXT, reason TEXT, candidate TEXT, champion TEXT, alpha DOUBLE,
    log_evidence DOUBLE, log_threshold DOUBLE, num_documents BIGINT, mean_gain DOUBLE, is_weak BOOLEAN,
    decided_at TIMESTAMP
);

-- Every sequential test of an attempt, with its evidence after each unit.
CREATE TABLE gate_test (
    attempt BIGINT, suite TEXT, role TEXT, against TEXT, other TEXT, outcome TEXT, clip DOUBLE, bound DOUBLE,
    num_units BIGINT, num_items BIGINT, mean_gain DOUBLE, standard_error DOUBLE, log_evidence DOUBLE, log_threshold DOUBLE, path DOUBLE[]
);

-- Where champion and best:SUITE point, and have pointed; rows are added and never changed.
CREATE TABLE alias_event (
    number BIGINT, alias TEXT, digest TEXT, generation BIGINT, moved_at TIMESTAMP, reason TEXT, attempt BIGINT
);

CREATE TABLE dropped (generation BIGINT, stage TEXT, reason TEXT, subject TEXT);

CREATE TABLE stage (
    generation BIGINT, name TEXT, started_at TIMESTAMP, finished_at TIMESTAMP, summary TEXT
);
