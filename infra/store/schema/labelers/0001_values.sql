CREATE TABLE datasheet (
    datasheet_id TEXT, labeler TEXT, rubric TEXT, method TEXT, gold TEXT, gold_digest TEXT,
    num_pairs BIGINT, num_unscored BIGINT,
    accuracy STRUCT("value" DOUBLE, low DOUBLE, high DOUBLE),
    admission_low DOUBLE,
    baselines STRUCT(majority DOUBLE, longer DOUBLE),
    kappa STRUCT("value" DOUBLE, low DOUBLE, high DOUBLE),
    probabilities STRUCT(
        kind TEXT, temperature DOUBLE, brier DOUBLE, ece DOUBLE, brier_calibrated DOUBLE,
        ece_calibrated DOUBLE
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
    datasheet_id TEXT, part TEXT, position BIGINT, judgment_id TEXT, length_a BIGINT,
    length_b BIGINT
);

-- The bits per byte of a passage under the champion, and (is_tuned) under the champion that has
-- learned the development texts. The difference is the value of the passage.
CREATE TABLE surprise (
    generation BIGINT, model_digest TEXT, sample_id TEXT, bits_per_byte DOUBLE, is_tuned BOOLEAN
);

CREATE TABLE win_rate (
    generation BIGINT, labeler TEXT, rubric TEXT, model TEXT, other TEXT, num_pairs BIGINT,
    measured DOUBLE, measured_low DOUBLE, measured_high DOUBLE, corrected DOUBLE, low DOUBLE,
    high DOUBLE, reason TEXT
);

CREATE TABLE probe_result (
    result_id TEXT, labeler TEXT, rubric TEXT, method TEXT, probe TEXT, half TEXT, num_pairs BIGINT,
    accuracy DOUBLE, lower DOUBLE, upper DOUBLE, auc DOUBLE, rule_limit DOUBLE, decision TEXT,
    alpha DOUBLE
);

CREATE TABLE admission (
    admission_id TEXT, labeler TEXT, rubric TEXT, method TEXT, admitted BOOLEAN, reason TEXT,
    temperature DOUBLE, length_slope DOUBLE
);
