CREATE TABLE sample (
    sample_id TEXT, document_id TEXT, kind TEXT, prompt TEXT, completion TEXT, origin TEXT,
    generation BIGINT, source_start BIGINT, source_end BIGINT, "check" TEXT
);

CREATE TABLE judgment (
    judgment_id TEXT, subject_id TEXT, labeler TEXT, rubric TEXT, method TEXT, status TEXT,
    reason TEXT, value DOUBLE, detail TEXT, num_tokens BIGINT, generation BIGINT, mode TEXT,
    verdict TEXT, labels TEXT[], distribution DOUBLE[], entropy DOUBLE, gap DOUBLE,
    completion_tokens BIGINT, subject_hashes TEXT[], rubric_digest TEXT, template_digest TEXT,
    seed BIGINT, raw TEXT
);

CREATE TABLE completion (
    completion_id TEXT, sample_id TEXT, model_digest TEXT, index BIGINT, text TEXT,
    num_tokens BIGINT, generation BIGINT
);

CREATE TABLE preference (
    preference_id TEXT, sample_id TEXT, prompt TEXT, chosen TEXT, rejected TEXT, chosen_origin TEXT,
    labeler TEXT, probability DOUBLE, margin DOUBLE, generation BIGINT, rejected_model TEXT,
    pair_index BIGINT
);
