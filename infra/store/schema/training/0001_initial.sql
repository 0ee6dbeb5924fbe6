CREATE TABLE IF NOT EXISTS train_step (
    generation BIGINT, kind TEXT, step BIGINT, loss DOUBLE, grad_norm DOUBLE, learning_rate DOUBLE,
    num_tokens BIGINT, seconds DOUBLE, row_ids TEXT[], metrics TEXT
);

CREATE TABLE IF NOT EXISTS checkpoint (
    digest TEXT, path TEXT, parent TEXT, generation BIGINT, manifest_digest TEXT,
    recipe_digest TEXT, seed BIGINT, created_at TIMESTAMP
);

-- The samples and preferences that a generation was trained on.
CREATE TABLE IF NOT EXISTS manifest (generation BIGINT, kind TEXT, item_id TEXT);

-- Measures of the training data, taken before a generation is trained.
CREATE TABLE IF NOT EXISTS data_fact (
    generation BIGINT, name TEXT, value DOUBLE, low DOUBLE, high DOUBLE
);
