"""From tests to decisions, by what is stored alone.

The gate decides with these functions, and `ratchet verify` decides again with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from infra.records import Checkpoint, Decision, GateTest, now
from infra.store.tables.registry import CHAMPION_ALIAS
from loop.gate.estimates import ScoredItem, mean_and_error, with_scores
from loop.gate.levels import log_threshold
from loop.gate.rules import AttemptRule, SuiteRule
from loop.gate.trial.context import Rivals


def tests_outcome(tests: Sequence[GateTest]) -> tuple[str, str]:
    """(outcome, reason) from the results of all tests of a candidate."""
    failed = next((t for t in tests if t.outcome == "fail"), None)
    if failed is not None:
        is_loss = failed.role == "primary"
        problem = "evidence of a loss" if is_loss else "worse by more than the margin"
        return "reject", f"{problem} on {failed.suite} against the {failed.against}"
    undecided = [f"{t.suite} against the {t.against}" for t in tests if t.outcome == "open"]
    if undecided:
        return "hold", f"not enough evidence: {', '.join(undecided)}"
    return "promote", "evidence of a gain"


def candidate_decision(
    rule: AttemptRule,
    rivals: Rivals,
    candidate: Checkpoint,
    outcome: tuple[str, str],
    tests: Sequence[GateTest],
) -> Decision:
    """The decision about one candidate, with its outcome and reason, and its evidence."""
    first = next((t for t in tests if t.role == "primary"), None)
    reuses = any(suite.reuse for suite in rule.deciding)
    return Decision(
        attempt=rule.number,
        generation=candidate.generation,
        outcome=outcome[0],
        reason=outcome[1],
        candidate=candidate.digest,
        champion=rivals.champion.digest,
        alpha=rule.level,
        log_evidence=first.log_evidence if first else 0.0,
        log_threshold=first.log_threshold if first else log_threshold(rule.level),
        num_documents=first.num_items if first else 0,
        mean_gain=first.mean_gain if first else 0.0,
        is_weak=outcome[0] == "promote" and reuses,
        decided_at=now(),
        arm=candidate.arm,
    )


def with_lead(
    decisions: Sequence[Decision], scores: Mapping[int, ScoredItem], aim: SuiteRule
) -> list[Decision]:
    """The decisions about all candidates, with the one that stands for the generation marked.

    Of those that pass, the one that gains most is promoted and the others are held. Their own tests
    stopped at different items, so they are compared on the items of the aim's suite that all of
    them have `scores` for. If none passes, the first one stands for the generation.
    """
    passed = [one for one in decisions if one.outcome == "promote"]
    rows = with_scores(scores, [one.candidate for one in passed])
    lead = max(passed, key=lambda one: _score(one, rows, aim)) if passed else decisions[0]
    return [
        replace(
            one,
            is_lead=False,
            outcome="hold",
            reason=f"evidence of a gain, but {lead.arm} gained more on the same {len(rows)} items",
            is_weak=False,
        )
        if one in passed and one is not lead
        else replace(one, is_lead=one is lead)
        for one in decisions
    ]


def _score(decision: Decision, rows: Sequence[ScoredItem], aim: SuiteRule) -> float:
    """A candidate's mean score on items, where more is better."""
    return aim.sign * mean_and_error([values[decision.candidate] for _, values in rows])[0]


def promoted_aliases(suites: Sequence[SuiteRule], tests: Sequence[GateTest]) -> list[str]:
    """The aliases that a promotion moves: the champion, and `best:SUITE` of some suites.

    The promoted candidate is the new best on a suite if its mean score is better than that of the
    best model before it, or than the anchor's where there is none.
    """
    aliases = [CHAMPION_ALIAS]
    for suite in suites:
        by_rival = {t.against: t for t in tests if t.suite == suite.name}
        test = by_rival.get("best") or by_rival.get("anchor") or by_rival.get("champion")
        if test is not None and test.mean_gain > 0:
            aliases.append(f"best:{suite.name}")
    return aliases
