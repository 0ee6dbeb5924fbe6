from __future__ import annotations

import pickle

from infra.errors import StageError, UserError


def test_errors_survive_process_borders() -> None:
    user = UserError("train.seed", 3, "is odd.", "Make it even.")
    stage = StageError("crawl", "example.org", "timed out")
    assert (
        str(pickle.loads(pickle.dumps(user)))
        == str(user)
        == "train.seed = '3': is odd. Make it even."
    )
    assert str(pickle.loads(pickle.dumps(stage))) == str(stage) == "crawl (example.org): timed out"


def test_a_value_that_is_none_is_not_shown() -> None:
    assert str(UserError("crawl", None, "it is missing.", "Add it.")) == (
        "crawl: it is missing. Add it."
    )


def test_long_values_are_cut() -> None:
    assert len(str(UserError("k", "x" * 10_000, "p.", "r."))) < 300
