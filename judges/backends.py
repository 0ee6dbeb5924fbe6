"""Labelers behind one protocol: a language model that runs here, and a scripted one with dials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from infra.artifacts import folder_digest
from infra.language_model import CompletedText, ContinuationScore, LanguageModel
from infra.models import resolve_model
from infra.records import unit_hash
from judges.config import JudgeConfig, ScriptedConfig
from judges.pairs import Comparison, Pair
from judges.protocol import Answer, Judge
from judges.rubrics import CHOICE, WAYS, Rubric
from judges.ways import Subject, choice_requests, evidence_of, requests_for, value_of


class LocalJudge:
    """A transformers model in this process."""

    ways = WAYS
    values_sides = True

    def __init__(self, reference: str) -> None:
        folder = resolve_model(reference, "judge.model")
        self.model = LanguageModel(folder, "judge.model")
        self.name = f"{reference}@{folder_digest(folder)[:12]}"

    def score(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Answer]:
        """See `Judge`. Untrusted text is neutralised before it enters a template."""
        clean = [Subject(s.subject_id, self._clean(s.prompt), self._clean(s.text)) for s in subjects]
        requests = [requests_for(rubric, way, subject, self.model.chat_prompt) for subject in clean]
        scored = zip(clean, requests, self._score_all(requests), strict=True)
        return [self._answer(way, subject, pairs, scores) for subject, pairs, scores in scored]

    def _answer(
        self, way: str, subject: Subject, pairs: Sequence[tuple[str, str]], scores: Sequence[ContinuationScore]
    ) -> Answer:
        if not subject.text.strip():
            return Answer(None, "empty")
        value = value_of(way, scores)
        num_tokens = sum(s.num_tokens for s in scores) + sum(len(c) // 4 for c, _ in pairs)
        return Answer(value, "", num_tokens) if value == value else Answer(None, "not_finite", num_tokens)

    def compare(self, rubric: Rubric, way: str, pairs: Sequence[Pair]) -> list[Comparison]:
        """See `Judge`. Both orders are asked by `choice`; other ways do not look at places."""
        clean = [replace(p, prompt=self._clean(p.prompt), a=self._clean(p.a), b=self._clean(p.b)) for p in pairs]
        if way == CHOICE:
            return self._choose(rubric, clean)
        sides = [Subject(p.pair_id, p.prompt, text) for p in clean for text in (p.a, p.b)]
        requests = [requests_for(rubric, way, side, self.model.chat_prompt) for side in sides]
        evidence = [evidence_of(way, scores) for scores in self._score_all(requests)]
        sizes = [sum(len(c) + len(t) for c, t in pairs) // 4 for pairs in requests]
        return [
            _compared(a - b, a - b, pair, size_a + size_b)
            for a, b, size_a, size_b, pair in zip(
                evidence[::2], evidence[1::2], sizes[::2], sizes[1::2], clean, strict=True
            )
        ]

    def _choose(self, rubric: Rubric, pairs: Sequence[Pair]) -> list[Comparison]:
        question = rubric.asked_about_pairs()
        asked = [order for pair in pairs for order in (pair, pair.swapped())]
        requests = [choice_requests(question, order, self.model.chat_prompt) for order in asked]
        odds = [scores[0].logp - scores[1].logp for scores in self._score_all(requests)]
        sizes = [len(both[0][0]) // 4 for both in requests]
        return [
            _compared(first, -second, pair, size_1 + size_2)
            for first, second, size_1, size_2, pair in zip(
                odds[::2], odds[1::2], sizes[::2], sizes[1::2], pairs, strict=True
            )
        ]

    def _clean(self, text: str) -> str:
        return self.model.neutralise(text)

    def _score_all(self, requests: Sequence[Sequence[tuple[str, str]]]) -> list[list[ContinuationScore]]:
        """Scores of lists of requests, in one go so that all share batches."""
        scores = iter(self.model.score([pair for pairs in requests for pair in pairs]))
        return [[next(scores) for _ in pairs] for pairs in requests]

    def complete(
        self, prompts: Sequence[str], max_new_tokens: int, temperature: float, seed: int
    ) -> list[CompletedText]:
        """See `Judge`."""
        return self.model.complete([self.model.neutralise(p) for p in prompts], max_new_tokens, temperature, seed)


class ScriptedJudge:
    """Says the truth with a dialable probability, decided by a hash of the subject; needs no model.

    Where the truth is not known by construction it is a hash too, so that a dry run has labels to
    work with that mean nothing but are the same every time.
    """

    ways = ("scripted",)
    values_sides = False

    def __init__(self, config: ScriptedConfig) -> None:
        self._config = config
        dials = (config.accuracy, config.length_bias, config.unscored_share, config.position_bias,
                 config.injection_weakness)  # fmt: skip
        self.name = "scripted@" + "/".join(f"{dial:g}" for dial in dials)

    def score(self, rubric: Rubric, way: str, subjects: Sequence[Subject]) -> list[Answer]:  # noqa: ARG002
        """See `Judge`."""
        return [self._one(rubric, subject) for subject in subjects]

    def compare(self, rubric: Rubric, way: str, pairs: Sequence[Pair]) -> list[Comparison]:  # noqa: ARG002
        """See `Judge`: the truth or its opposite, and what the dials for place and length add."""
        return [self._compare_one(rubric, pair) for pair in pairs]

    def _compare_one(self, rubric: Rubric, pair: Pair) -> Comparison:
        dials = self._config
        if unit_hash("answers", pair.pair_id) < dials.unscored_share:
            return Comparison(None, None, "refusal")
        side = pair.truth if pair.truth is not None else "A" if unit_hash("truth", pair.pair_id) < 0.5 else "B"
        honest = unit_hash("honest", rubric.id, pair.pair_id) < dials.accuracy
        belief = {"A": 1.0, "B": -1.0, "tie": 0.0}[side] * (1.0 if honest else -1.0)
        belief *= 0.5 + unit_hash("spread", pair.pair_id)
        belief += dials.length_bias * (len(pair.a) - len(pair.b)) / 1000
        belief += dials.injection_weakness * (_gives_orders(pair.a) - _gives_orders(pair.b))
        tokens = (len(pair.prompt) + len(pair.a) + len(pair.b)) // 4
        return Comparison(belief + dials.position_bias, belief - dials.position_bias, "", tokens)

    def _one(self, rubric: Rubric, subject: Subject) -> Answer:
        if not subject.text.strip():
            return Answer(None, "empty")
        if unit_hash("answers", subject.subject_id) < self._config.unscored_share:
            return Answer(None, "refusal")
        truth = subject.truth if subject.truth is not None else round(unit_hash("truth", subject.subject_id))
        honest = unit_hash("honest", rubric.id, subject.subject_id) < self._config.accuracy
        spread = 0.4 * unit_hash("spread", subject.subject_id)
        value = (0.55 + spread) if bool(truth) == honest else (0.05 + spread)
        value += self._config.length_bias * len(subject.text) / 1000
        return Answer(min(max(value, 0.0), 1.0), "", len(subject.text) // 4)

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


def _compared(shown_first: float, shown_second: float, pair: Pair, num_tokens: int) -> Comparison:
    if not pair.a.strip() and not pair.b.strip():
        return Comparison(None, None, "empty", num_tokens)
    if shown_first != shown_first or shown_second != shown_second:
        return Comparison(None, None, "not_finite", num_tokens)
    return Comparison(shown_first, shown_second, "", num_tokens)


def make_judge(config: JudgeConfig) -> Judge:
    """The labeler that a recipe names."""
    if config.kind == "endpoint":
        from judges.endpoint import EndpointJudge  # loads an HTTP client

        return EndpointJudge(config.endpoint)
    return ScriptedJudge(config.scripted) if config.kind == "scripted" else LocalJudge(config.model)
