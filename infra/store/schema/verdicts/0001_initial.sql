-- A cache of labeler answers. The key is a hash of everything that the answer depends on, including
-- the mode. What `numbers` mean depends on the mode.
CREATE TABLE verdict (
    key TEXT, numbers DOUBLE[], distribution DOUBLE[], prompt_tokens BIGINT,
    completion_tokens BIGINT, raw TEXT
);

CREATE TABLE verdict_failure (key TEXT, reason TEXT, retry_at TIMESTAMP);
