-- Answers of labelers by everything they depend on; what `numbers` are depends on the mode, which is in the key.
CREATE TABLE IF NOT EXISTS verdict (
    key TEXT, numbers DOUBLE[], distribution DOUBLE[], prompt_tokens BIGINT, completion_tokens BIGINT, raw TEXT
);

CREATE TABLE IF NOT EXISTS verdict_failure (key TEXT, reason TEXT, retry_at TIMESTAMP);
