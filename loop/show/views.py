"""Views of a run that need more than a query: aliases at a time, groups with errors, gaps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from infra.errors import UserError
from infra.store.queries import generations as generation_queries
from infra.store.queries import training as training_queries
from infra.store.reader import QueryRow, Reader
from infra.store.tables.registry import CHAMPION_ALIAS
from loop.gate.config import ANSWERS, BITS, LABELER_SUITE
from loop.gate.estimates import clustered_mean_and_error, mean_and_error
from loop.gate.rules import BITS_PER_BYTE
from loop.gate.trial.reward_hacking import reward_rise
from loop.record.facts import NO_MODEL_REMEDY, no_such_arm, recipe_text


def measured_generations(reader: Reader) -> list[QueryRow]:
    """One row for each generation; 0 is the anchor.

    `aim`, `aim_error` and `champion_aim` are the means of the candidate and of the champion in the
    aim, over the items of the test that decided, as `mean_gain` is; None if there was none.
    """
    scores: dict[int, list[QueryRow]] = {}
    for row in generation_queries.tested_scores(reader):
        scores.setdefault(row["generation"], []).append(row)
    rows = generation_queries.generations(reader)
    return [row | _aim_means(scores.get(row["generation"], [])) for row in rows]


def _aim_means(scores: Sequence[QueryRow]) -> QueryRow:
    if not scores:
        return {"aim": None, "aim_error": None, "champion_aim": None}
    units = [row["unit"] for row in scores]
    aim, error = clustered_mean_and_error([row["own"] for row in scores], units)
    champion_aim, _ = mean_and_error([row["champion"] for row in scores])
    return {"aim": aim, "aim_error": error, "champion_aim": champion_aim}


def require_generations(reader: Reader) -> list[QueryRow]:
    """The rows of `measured_generations`.

    Raises:
        UserError: if there is none. The run has only crawled, or was stopped before it began.
    """
    rows = measured_generations(reader)
    if not rows:
        recipe_text(generation_queries.run_facts(reader))
        raise UserError("--run", None, "this run has no generation yet.", NO_MODEL_REMEDY)
    return rows


def generation(reader: Reader, number: int) -> QueryRow:
    """The row of one generation.

    Raises:
        UserError: if there is no such generation.
    """
    rows = {row["generation"]: row for row in require_generations(reader)}
    if number not in rows:
        known = ", ".join(str(one) for one in sorted(rows))
        problem = "this run has no such generation."
        raise UserError("generation", number, problem, f"There are {known}.")
    return rows[number]


def candidate(reader: Reader, number: int, arm: str | None) -> QueryRow:
    """A candidate of a generation; without the name of an arm the one that stands for it.

    Raises:
        UserError: if there is no such generation or candidate.
    """
    generation(reader, number)
    rows = generation_queries.candidates(reader, number)
    for row in rows:
        if arm in (None, row["arm"]):
            return row
    raise no_such_arm(str(arm), number, [row["arm"] for row in rows])


def aim_words(rows: Sequence[QueryRow]) -> str:
    """What the rows of generations have as the aim, for a heading."""
    metric = next((row["aim_metric"] for row in rows if row["aim_metric"]), "")
    if not rows or rows[0]["aim_suite"] == BITS_PER_BYTE:
        return "bits per byte of held-out text"
    if rows[0]["aim_suite"] == ANSWERS:
        return "bits per byte of answers about held-out pages"
    words = {"": "exam", BITS: "bits per byte of the exam's answers"}
    return words.get(metric, "share of the exam that is right")


def gain_unit(rows: Sequence[QueryRow]) -> str:
    """The unit of a gain in the aim."""
    return "share of right answers" if "share" in aim_words(rows) else "bits per byte"


def champion_event(reader: Reader, at: datetime | None = None) -> QueryRow | None:
    """The event that made the champion, now or at a time (UTC); None if it is the anchor."""
    events = [
        event
        for event in generation_queries.alias_events(reader)
        if event["alias"] == CHAMPION_ALIAS and (at is None or event["moved_at"] <= at)
    ]
    return events[-1] if events else None


def champion(reader: Reader) -> QueryRow:
    """The champion, as a candidate of its generation."""
    event = champion_event(reader)
    return candidate(reader, 0, None) if event is None else moved_model(reader, event)


def moved_model(reader: Reader, event: QueryRow) -> QueryRow:
    """The model that an alias was moved to, as a candidate of its generation."""
    rows = generation_queries.candidates(reader, event["generation"])
    return next(row for row in rows if row["digest"] == event["digest"])


def bits_by_group(reader: Reader, number: int, group: str) -> list[QueryRow]:
    """Bits per byte and gain over the champion by `language` or `domain`, with errors.

    Each row has name, documents, and (mean, standard error) as `bits` and `gain`. The largest
    group is first.
    """
    groups: dict[str, list[QueryRow]] = {}
    for row in generation_queries.document_bits(reader, number):
        groups.setdefault(row[group] or "unknown", []).append(row)
    summary = [_group_row(name, members) for name, members in groups.items()]
    return sorted(summary, key=lambda row: (-row["documents"], row["name"]))


def _group_row(name: str, members: list[QueryRow]) -> QueryRow:
    units = [row["unit"] for row in members]
    return {
        "name": name,
        "documents": len(members),
        "bits": clustered_mean_and_error([row["bits"] for row in members], units),
        "gain": clustered_mean_and_error([row["gain"] for row in members], units),
    }


def proxy_gaps(reader: Reader) -> list[QueryRow]:
    """The training objective and the measured gain of each generation, side by side.

    `win_rate` is the labeler's, `reward` the rise of the reward in training; None if there is
    none.
    """
    rows = generation_queries.preferred(reader, LABELER_SUITE)
    for row in rows:
        steps = training_queries.train_steps(reader, row["generation"], row["arm"])
        rise = reward_rise(steps)
        row["reward"] = rise[1] - rise[0] if rise else None
    return rows
