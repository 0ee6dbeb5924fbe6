CREATE TABLE train_step (
    generation BIGINT, kind TEXT, step BIGINT, loss DOUBLE, grad_norm DOUBLE, learning_rate DOUBLE,
    num_tokens BIGINT, seconds DOUBLE, row_ids TEXT[], metrics TEXT
);

CREATE TABLE checkpoint (
    digest TEXT, path TEXT, parent TEXT, generation BIGINT, manifest_digest TEXT,
    recipe_digest TEXT, seed BIGINT, created_at TIMESTAMP
);

-- The samples and preferences that a generation was trained on.
CREATE TABLE manifest (generation BIGINT, kind TEXT, item_id TEXT);

-- Measures of the training data, taken before a generation is trained.
CREATE TABLE data_fact (
    generation BIGINT, name TEXT, value DOUBLE, low DOUBLE, high DOUBLE
);
