"""A labeler with dials: how often it is right, and what it likes beside the truth."""

from __future__ import annotations

from collections.abc import Sequence

from infra.models.language_model import CompletedText
from infra.records import unit_hash
from judges.config import ScriptedConfig
from judges.judgment.answers import Answer, Usage
from judges.judgment.elicitation import Subject
from judges.judgment.listwise import Listing, Ranking, merged, orders
from judges.judgment.pairs import SIGN, Comparison, Pair
from judges.judgment.protocol import Judge
from judges.rubrics import Rubric


class ScriptedJudge(Judge):
    """Says the truth with a dialable probability, decided by a hash of the subject; needs no model.

    Where the truth is not known by construction it is a hash too, so that a dry run has labels to
    work with that mean nothing but are the same every time.
    """

    name = ""
    ways: tuple[str, ...] = ("scripted",)
    values_sides = False

    def __init__(self, config: ScriptedConfig) -> None:
        self._config = config
        dials = (
            config.accuracy,
            config.length_bias,
            config.unscored_share,
            config.position_bias,
            config.injection_weakness,
        )
        self.name = "scripted@" + "/".join(f"{dial:g}" for dial in dials)

    def score(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Answer]:  # noqa: ARG002
        """See `Judge`."""
        return [self._one(rubric, subject) for subject in subjects]

    def compare(self, rubric: Rubric, way: str, pairs: Sequence[Pair]) -> list[Comparison]:  # noqa: ARG002
        """See `Judge`: the truth or its opposite, and what the dials for place and length add."""
        return [self._compare_one(rubric, pair) for pair in pairs]

    def rank(self, rubric: Rubric, way: str, listings: Sequence[Listing]) -> list[Ranking]:  # noqa: ARG002
        """See `Judge`: the best text or another one, and what the dials for place and length add."""
        return [self._rank_one(rubric, listing) for listing in listings]

    def _compare_one(self, rubric: Rubric, pair: Pair) -> Comparison:
        dials = self._config
        if unit_hash("answers", pair.pair_id) < dials.unscored_share:
            return Comparison(None, None, "refusal")
        side = (
            pair.truth
            if pair.truth is not None
            else "A"
            if unit_hash("truth", pair.pair_id) < 0.5
            else "B"
        )
        honest = unit_hash("honest", rubric.id, pair.pair_id) < dials.accuracy
        belief = SIGN[side] * (1.0 if honest else -1.0)
        belief *= 0.5 + unit_hash("spread", pair.pair_id)
        belief += dials.length_bias * (len(pair.a) - len(pair.b)) / 1000
        belief += dials.injection_weakness * (_gives_orders(pair.a) - _gives_orders(pair.b))
        usage = Usage((len(pair.prompt) + len(pair.a) + len(pair.b)) // 4)
        return Comparison(belief + dials.position_bias, belief - dials.position_bias, "", usage)

    def _rank_one(self, rubric: Rubric, listing: Listing) -> Ranking:
        dials, size = self._config, len(listing.texts)
        if unit_hash("answers", listing.listing_id) < dials.unscored_share:
            return Ranking(None, "refusal")
        truth = (
            listing.truth
            if listing.truth is not None
            else int(unit_hash("truth", listing.listing_id) * size)
        )
        honest = unit_hash("honest", rubric.id, listing.listing_id) < dials.accuracy
        best = truth if honest else (truth + 1) % size
        liked = [
            2.0 * (i == best)
            + dials.length_bias * len(t) / 1000
            + dials.injection_weakness * _gives_orders(t)
            for i, t in enumerate(listing.texts)
        ]
        shown = orders(listing, 0)
        said = [
            [liked[i] + 2 * dials.position_bias * (place == 0) for place, i in enumerate(order)]
            for order in shown
        ]
        return merged(shown, said, Usage(sum(map(len, listing.texts)) // 4), "")

    def _one(self, rubric: Rubric, subject: Subject) -> Answer:
        if not subject.text.strip():
            return Answer(None, "empty")
        if unit_hash("answers", subject.subject_id) < self._config.unscored_share:
            return Answer(None, "refusal")
        truth = (
            subject.truth
            if subject.truth is not None
            else round(unit_hash("truth", subject.subject_id))
        )
        honest = unit_hash("honest", rubric.id, subject.subject_id) < self._config.accuracy
        spread = 0.4 * unit_hash("spread", subject.subject_id)
        value = (0.55 + spread) if bool(truth) == honest else (0.05 + spread)
        value += self._config.length_bias * len(subject.text) / 1000
        return Answer(min(max(value, 0.0), 1.0), "", Usage(len(subject.text) // 4))

    def complete(
        self,
        prompts: Sequence[str],
        max_new_tokens: int,  # noqa: ARG002
        temperature: float,  # noqa: ARG002
        seed: int,  # noqa: ARG002
    ) -> list[CompletedText]:
        """See `Judge`: a question made of words near the prompt's end."""
        words = [text.split()[-6:-2] for text in prompts]
        return [CompletedText(f"What is meant by {' '.join(w)}?", len(w) + 4, True) for w in words]


def _gives_orders(text: str) -> bool:
    """Whether a text talks to whoever grades it; what the scripted labeler can be made weak to."""
    return "grader" in text.lower() or "evaluator" in text.lower()
