-- An attempt tests all candidates of a generation on the same items; one row for each candidate.
CREATE TABLE attempt (
    attempt BIGINT, generation BIGINT, arm TEXT, candidate TEXT, champion TEXT,
    registered_at TIMESTAMP
);

-- Used items of a suite (held-out documents, lines of a file), with the attempt that drew them.
-- Except in suites that reuse their items, no unit is drawn twice.
CREATE TABLE burned (
    attempt BIGINT, suite TEXT, position BIGINT, item_id TEXT, unit TEXT
);

-- The number of units that an attempt may draw from a suite, fixed before it draws the first.
CREATE TABLE planned_units (
    attempt BIGINT, suite TEXT, units BIGINT
);

CREATE TABLE item_score (
    attempt BIGINT, suite TEXT, item_id TEXT, position BIGINT, model_digest TEXT, value DOUBLE,
    size BIGINT, detail TEXT, unit TEXT
);

CREATE TABLE evaluation (
    attempt BIGINT, generation BIGINT, suite TEXT, metric TEXT, model_digest TEXT, value DOUBLE,
    standard_error DOUBLE, num_items BIGINT
);

-- One row for each candidate. `is_lead` marks the row that stands for the generation: the promoted
-- candidate, else the first one.
CREATE TABLE decision (
    attempt BIGINT, generation BIGINT, arm TEXT, is_lead BOOLEAN, outcome TEXT, reason TEXT,
    candidate TEXT, champion TEXT,
    alpha DOUBLE, log_evidence DOUBLE, log_threshold DOUBLE, num_documents BIGINT, mean_gain DOUBLE,
    is_weak BOOLEAN, decided_at TIMESTAMP
);

-- The sequential tests of attempts, with their evidence after each unit.
CREATE TABLE gate_test (
    attempt BIGINT, arm TEXT, suite TEXT, role TEXT, against TEXT, other TEXT, outcome TEXT,
    clip DOUBLE,
    bound DOUBLE, num_units BIGINT, num_items BIGINT, mean_gain DOUBLE, standard_error DOUBLE,
    log_evidence DOUBLE, log_threshold DOUBLE, path DOUBLE[]
);

-- Does picking pay? The candidate of picked passages against that of random ones, over the life of
-- the run. One row after each generation that had both.
CREATE TABLE picking_test (
    generation BIGINT, suite TEXT, clip DOUBLE, num_units BIGINT, mean_gain DOUBLE,
    standard_error DOUBLE, log_pay DOUBLE, log_cost DOUBLE, log_useless DOUBLE,
    log_threshold DOUBLE, verdict TEXT, pay_path DOUBLE[], cost_path DOUBLE[], useless_path DOUBLE[]
);
