-- A generation has one or more candidates. The column `arm` names each: picked, random, or a name
-- from the recipe; it is empty for the anchor.
CREATE TABLE train_step (
    generation BIGINT, arm TEXT, kind TEXT, step BIGINT, loss DOUBLE, grad_norm DOUBLE,
    learning_rate DOUBLE,
    num_tokens BIGINT, seconds DOUBLE, row_ids TEXT[], metrics TEXT
);

CREATE TABLE checkpoint (
    digest TEXT, path TEXT, parent TEXT, generation BIGINT, arm TEXT, manifest_digest TEXT,
    recipe_digest TEXT, seed BIGINT, created_at TIMESTAMP
);

-- The samples and preferences that a candidate was trained on.
CREATE TABLE manifest (generation BIGINT, arm TEXT, kind TEXT, item_id TEXT);

-- Measures of the training data, taken before a candidate is trained.
CREATE TABLE data_fact (
    generation BIGINT, arm TEXT, name TEXT, value DOUBLE, low DOUBLE, high DOUBLE
);
