"""What `ratchet verify` finds: every value of the gate's tables that was changed afterwards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.errors import UserError
from infra.records import PICKED, RANDOM, Document
from infra.store import Store
from loop.audit.verify import verify
from tests.infra.support.store_rows import add_documents
from tests.loop.support.decided_runs import decide_generation, new_run

GAINS = (
    {PICKED: 0.15, RANDOM: 0.02},  # the picked one is promoted
    {PICKED: 0.1, RANDOM: 0.16},  # both pass, the random one gains more
    {PICKED: 0.0, RANDOM: -0.2},  # one is held, one is rejected
    {PICKED: 0.12},
)
FREE = {
    "attempt": ("registered_at",),
    "item_score": ("detail", "size"),
    "decision": ("decided_at",),
    "alias_event": ("moved_at",),
    "checkpoint": ("created_at",),
    "stage": ("started_at", "finished_at"),
}
"""Columns that no other one determines."""
TABLES = (
    "attempt",
    "planned_units",
    "burned",
    "item_score",
    "decision",
    "gate_test",
    "evaluation",
    "picking_test",
    "alias_event",
)


@dataclass(frozen=True)
class DecidedRun:
    """A run whose tables can be changed for one look of `verify`."""

    store: Store
    folder: Path

    def problems(self, *changes: str) -> list[str]:
        """What verify finds after these changes, which are undone."""
        execute = self.store.database.connection.execute
        execute("BEGIN")
        try:
            for change in changes:
                execute(change)
            findings = verify(self.store, self.folder)
        finally:
            execute("ROLLBACK")
        return [f"{one.subject}: {one.problem}" for one in findings if one.problem]


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> DecidedRun:
    """Four generations with two suites that decide; one of them uses its items again."""
    folder = tmp_path_factory.mktemp("decided")
    items = [json.dumps({"good": f"right {i}", "bad": f"wrong {i}"}) + "\n" for i in range(60)]
    (folder / "pairs.jsonl").write_text("".join(items), encoding="utf-8")
    suite = [f"gate.suites.pairs.file={folder / 'pairs.jsonl'}", "gate.suites.pairs.kind=pairs"]
    run = new_run(folder, suite)
    for generation, gains in enumerate(GAINS, start=1):
        decide_generation(run, generation, gains)
    return DecidedRun(run.store, folder)


def test_a_run_that_nobody_changed_has_no_finding(decided: DecidedRun) -> None:
    assert decided.problems() == []
    gate = decided.store.gate
    outcomes = [[one.outcome for one in gate.decisions(k)] for k in (1, 2, 3, 4)]
    assert outcomes == [["promote", "hold"], ["promote", "hold"], ["hold", "reject"], ["promote"]]


HOSTILE = {
    "BIGINT": ("-1", "1000000000000", "9223372036854775807"),
    "DOUBLE": ("'nan'::DOUBLE", "'inf'::DOUBLE", "-1e308"),
    "DOUBLE[]": ("[]", "['nan'::DOUBLE]"),
    "VARCHAR": ("'x'",),
    "BOOLEAN": ("NOT {0}",),
}
"""Values that no gate stores, but that the type of a column allows."""


@pytest.mark.nightly
@pytest.mark.parametrize("table", [*TABLES, "checkpoint", "manifest", "stage"])
def test_no_value_ends_in_a_traceback(decided: DecidedRun, table: str) -> None:
    unnoticed = []
    for name, kind in _columns(table):
        for value in HOSTILE[kind]:
            where = f"rowid = (SELECT max(rowid) FROM {table} WHERE {_matters(table)})"
            change = f"{name} = {value.format(name)}"
            if not decided.problems(f"UPDATE {table} SET {change} WHERE {where}"):
                unnoticed.append(change)
    assert unnoticed == []


def _columns(table: str) -> Sequence[tuple[str, str]]:
    store = Store(":memory:")
    sql = "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ?"
    rows = store.database.rows(sql, [table])
    store.close()
    return [(str(name), str(kind)) for name, kind in rows if name not in FREE.get(table, ())]


CHANGED = {
    "BIGINT": "{0} + 1",
    "DOUBLE": "{0} + 0.01",
    "DOUBLE[]": "list_transform({0}, lambda x: x + 0.01)",
    "VARCHAR": "{0} || 'x'",
    "BOOLEAN": "NOT {0}",
}


@pytest.mark.parametrize("table", TABLES)
def test_each_value_that_is_changed_is_found(decided: DecidedRun, table: str) -> None:
    unnoticed = []
    for name, kind in _columns(table):
        value = CHANGED[kind].format(name)
        where = f"rowid = (SELECT max(rowid) FROM {table} WHERE {_matters(table)})"
        change = f"UPDATE {table} SET {name} = {value} WHERE {where}"
        if not decided.problems(change):
            unnoticed.append(name)
    assert unnoticed == []


def _matters(table: str) -> str:
    """Scores and draws for reports and vetoes are not checked one by one."""
    decides = "suite IN ('bits_per_byte', 'pairs')"
    return decides if table in ("item_score", "burned", "planned_units") else "true"


@pytest.mark.parametrize("table", TABLES)
def test_a_row_that_is_removed_or_added_is_found(decided: DecidedRun, table: str) -> None:
    sql = f"SELECT rowid FROM {table} WHERE {_matters(table)}"
    rows = decided.store.database.rows(sql)
    for (row,) in (rows[0], rows[len(rows) // 2]):
        assert decided.problems(f"DELETE FROM {table} WHERE rowid = {row}"), row
        again = f"INSERT INTO {table} SELECT * FROM {table} WHERE rowid = {row}"
        assert f"rows of {table}: some are there twice" in decided.problems(again)
    assert decided.problems(f"DELETE FROM {table} WHERE {_matters(table)}")


def test_a_decision_reversed_with_its_aliases_is_found(decided: DecidedRun) -> None:
    findings = decided.problems(
        "UPDATE decision SET outcome = 'promote', reason = 'evidence of a gain', is_lead = true"
        " WHERE generation = 3 AND arm = 'picked'",
        "INSERT INTO alias_event SELECT number + 100, 'champion', candidate, 3, now(), 'x', 3"
        " FROM alias_event, decision d WHERE number = 1 AND d.generation = 3 AND d.arm = 'picked'",
    )
    text = "\n".join(findings)
    assert "decision of attempt 3 about picked: outcome is 'promote', not 'hold'" in text
    assert "aliases moved by attempt 3" in text


def test_a_decision_that_was_rejected_by_a_veto_that_was_none_is_found(
    decided: DecidedRun,
) -> None:
    findings = decided.problems(
        "UPDATE decision SET outcome = 'reject', reason = 'veto: distinct-2 fell from 1 to 0'"
        " WHERE generation = 4",
        "DELETE FROM gate_test WHERE attempt = 4",
        "DELETE FROM alias_event WHERE attempt = 4",
    )
    assert any("about picked: outcome is 'reject'" in one for one in findings), findings


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("DELETE FROM checkpoint WHERE generation = 0", "anchor (generation 0)"),
        ("DROP TABLE gate_test", "table gate_test: it is missing"),
        ("ALTER TABLE decision DROP COLUMN alpha", "column alpha of decision: it is missing"),
        ("ALTER TABLE decision ALTER alpha TYPE VARCHAR", "it is VARCHAR, not DOUBLE"),
        ("UPDATE gate_test SET path = list_append(path, NULL)", "column path of gate_test"),
    ],
)
def test_a_damaged_database_is_a_finding(decided: DecidedRun, change: str, problem: str) -> None:
    (finding, *_) = decided.problems(change)
    assert problem in finding
    assert "restore the database from a backup" in finding


@pytest.mark.parametrize("text", ["not JSON", "[1]", "{}"])
def test_a_stored_recipe_that_cannot_be_read_is_a_short_error(
    decided: DecidedRun, text: str
) -> None:
    with pytest.raises(UserError, match=r"recipe.*(Restore|start a new run)"):
        decided.problems(f"UPDATE run SET value = '{text}' WHERE key = 'recipe'")


@pytest.mark.parametrize("table", TABLES)
def test_a_value_that_is_missing_is_found(decided: DecidedRun, table: str) -> None:
    for name, _ in _columns(table):
        change = f"UPDATE {table} SET {name} = NULL WHERE rowid = (SELECT max(rowid) FROM {table})"
        assert any(f"column {name} of {table}" in one for one in decided.problems(change)), name


def test_an_attempt_with_an_absurd_number_is_found(decided: DecidedRun) -> None:
    findings = decided.problems("UPDATE burned SET attempt = 1000000000000 WHERE attempt = 4")
    assert any("attempt 1000000000000" in one for one in findings)


def test_scores_left_out_at_the_end_are_found(decided: DecidedRun) -> None:
    """A candidate that gets worse towards the end would be promoted without the last items."""
    findings = decided.problems(
        "UPDATE gate_test SET num_items = num_items - 1, num_units = num_units - 1,"
        " path = path[:-2] WHERE attempt = 3 AND arm = 'picked' AND suite = 'bits_per_byte'",
    )
    assert findings


def test_a_champion_link_to_another_model_is_found(decided: DecidedRun) -> None:
    link = decided.folder / "champion"
    before = link.readlink()
    link.unlink()
    try:
        link.symlink_to(decided.folder / "base")
        assert any("link champion: it points to" in one for one in decided.problems())
        link.unlink()
        assert decided.problems() == []  # the next gate makes it
    finally:
        link.unlink(missing_ok=True)
        link.symlink_to(before)


def test_cherry_picked_documents_are_found(decided: DecidedRun) -> None:
    """One document that was not drawn stands for another one, with its scores."""
    row = "attempt = 4 AND suite = 'bits_per_byte'"
    left = (
        "SELECT min(document_id) AS id FROM document"
        " WHERE document_id NOT IN (SELECT item_id FROM burned)"
    )
    assert decided.store.database.value(left), "some documents are left"
    findings = decided.problems(
        f"CREATE TABLE chosen AS {left}",
        *(
            f"UPDATE {table} SET item_id = chosen.id, unit = chosen.id FROM chosen"
            f" WHERE {row} AND position = 0"
            for table in ("burned", "item_score")
        ),
    )
    assert any("draw of attempt 4 on bits_per_byte" in one for one in findings), findings


def test_another_salt_is_found(decided: DecidedRun) -> None:
    findings = decided.problems("UPDATE run SET value = 'another' WHERE key = 'salt'")
    assert any("in the order that the salt decides" in one for one in findings)
    assert any(one.startswith("draw of attempt 1 on pairs") for one in findings)


def test_gaps_in_the_positions_are_found(decided: DecidedRun) -> None:
    """The first items, on which the candidate was worse, are taken out of a draw."""
    findings = decided.problems(
        "DELETE FROM burned WHERE attempt = 4 AND position < 3",
        "DELETE FROM item_score WHERE attempt = 4 AND position < 3 AND suite <> 'continuations'",
    )
    assert "draw of attempt 4 on pairs: the positions of its items have gaps" in findings


def test_a_draw_without_its_first_items_is_found(decided: DecidedRun) -> None:
    findings = decided.problems(
        *(
            change
            for table in ("burned", "item_score")
            for change in (
                f"DELETE FROM {table} WHERE attempt = 4 AND suite = 'pairs' AND position = 0",
                f"UPDATE {table} SET position = position - 1 WHERE attempt = 4 AND suite = 'pairs'",
            )
        )
    )
    problem = "draw of attempt 4 on pairs: other items were there to be drawn first"
    assert problem in findings


def test_pages_that_were_crawled_ahead_are_no_finding(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.store.run.start_stage(2, "crawl")
    text = "text of a held-out page"
    documents = [
        Document(f"d{i}", f"p{i}", f"u{i}", "t", f"{text} {i}", "en", "x", "gate", 2)
        for i in range(20)
    ]
    add_documents(run.store, documents)
    run.store.run.finish_stage(2, "crawl", {})
    decide_generation(run, 1, {PICKED: 0.1})
    drawn = run.store.gate.drawn_items(1, "bits_per_byte")
    assert {item for _, item, _ in drawn} & {one.document_id for one in documents}
    assert [one for one in verify(run.store, tmp_path) if one.problem] == []


def test_a_removed_last_attempt_is_found(decided: DecidedRun) -> None:
    """Its models, manifests and their provenance are still there."""
    tables = ("attempt", "planned_units", "burned", "item_score", "decision", "gate_test")
    changes = [f"DELETE FROM {table} WHERE attempt = 4" for table in (*tables, "alias_event")]
    changes += [f"DELETE FROM {table} WHERE generation = 4" for table in ("evaluation", "stage")]
    findings = decided.problems(*changes)
    assert any("generation 4: it has models, and its stage train" in one for one in findings)
    assert any("ratchet.json in the folder of its model" in one for one in findings)
    more = ("checkpoint", "manifest")
    findings = decided.problems(
        *changes, *(f"DELETE FROM {one} WHERE generation = 4" for one in more)
    )
    assert any("no row says who made it" in one for one in findings)


def test_an_undone_decision_is_found(decided: DecidedRun) -> None:
    """As if the gate had been interrupted, so that it would be asked again."""
    undo = "UPDATE stage SET finished_at = NULL WHERE generation = {0} AND name = 'gate'"
    gone = "DELETE FROM {1} WHERE attempt = {0}"
    for generation, problem in ((3, "and generation 4 has begun"), (4, "stored after a decision")):
        changes = [undo.format(generation)]
        changes += [gone.format(generation, one) for one in ("decision", "alias_event")]
        findings = decided.problems(*changes)
        assert any(f"generation {generation}: " in one and problem in one for one in findings)


def test_a_gate_that_was_interrupted_is_no_finding(decided: DecidedRun) -> None:
    """Before its decision, and after it but before its reports."""
    undo = "UPDATE stage SET finished_at = NULL WHERE generation = 4 AND name = 'gate'"
    reports = (
        "DELETE FROM evaluation WHERE attempt = 4",
        "DELETE FROM item_score WHERE attempt = 4 AND suite LIKE 'continuations/%'"
        " AND suite NOT IN ('continuations/distinct_2', 'continuations/kl_to_anchor')",
    )
    file = decided.folder / "models" / "generation-004-picked" / "ratchet.json"
    link, provenance = decided.folder / "champion", file.read_bytes()
    before = link.readlink()
    file.unlink()
    try:
        assert decided.problems(undo, *reports) == []
        link.unlink()
        link.symlink_to(decided.folder / "models" / "generation-002-random")
        assert decided.problems(undo, *reports) == []
        undecide = [f"DELETE FROM {one} WHERE attempt = 4" for one in ("decision", "alias_event")]
        assert decided.problems(undo, *reports, *undecide) == []
        tests = "DELETE FROM gate_test WHERE attempt = 4"
        assert decided.problems(undo, *reports, *undecide, tests) == []
    finally:
        file.write_bytes(provenance)
        link.unlink()
        link.symlink_to(before)


def test_a_removed_generation_in_between_is_found(decided: DecidedRun) -> None:
    for table in ("stage", "checkpoint", "manifest", "attempt", "decision", "picking_test"):
        assert decided.problems(f"DELETE FROM {table} WHERE generation = 2"), table


def test_a_registration_after_the_decision_is_found(decided: DecidedRun) -> None:
    findings = decided.problems("UPDATE attempt SET registered_at = '2999-01-01' WHERE attempt = 2")
    assert any("registered after its decision" in one for one in findings)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("parent = 'other'", "parent is"),
        ("recipe_digest = 'other'", "recipe_digest is"),
        ("seed = 99", "seed is 99, not 0"),
        ("created_at = '2999-01-01'", "made after its attempt was registered"),
    ],
)
def test_a_changed_checkpoint_is_found(decided: DecidedRun, change: str, problem: str) -> None:
    findings = decided.problems(f"UPDATE checkpoint SET {change} WHERE generation = 3")
    assert any(one.startswith("model of generation 3") and problem in one for one in findings)


@pytest.mark.parametrize("change", ["arm = 'x'", "parent = 'x'", "manifest_digest = 'x'"])
def test_a_changed_anchor_is_found(decided: DecidedRun, change: str) -> None:
    (finding,) = decided.problems(f"UPDATE checkpoint SET {change} WHERE generation = 0")
    assert finding.startswith("model of generation 0")


def test_a_summary_that_is_not_json_is_found(decided: DecidedRun) -> None:
    findings = decided.problems("UPDATE stage SET summary = '{' WHERE generation = 4")
    assert "summary of stage gate of generation 4: it is not JSON" in findings


def test_a_promotion_for_another_reason_is_found(decided: DecidedRun) -> None:
    findings = decided.problems("UPDATE alias_event SET reason = 'x' WHERE attempt = 4")
    assert any("aliases moved by attempt 4" in one for one in findings)


def test_a_model_that_is_marked_as_deleted_and_exists_is_found(decided: DecidedRun) -> None:
    mark = (
        "INSERT INTO alias_event SELECT (SELECT max(number) + 1 FROM alias_event), 'collected',"
        " digest, generation, now()::TIMESTAMP, 'x', 0 FROM checkpoint"
        " WHERE generation = 2 AND arm = 'random'"
    )
    assert any("is marked as deleted" in one for one in decided.problems(mark))


@pytest.mark.parametrize(
    "which",
    [
        "metric = 'bits_per_byte' AND model_digest = (SELECT digest FROM checkpoint LIMIT 1)",
        "metric = 'accuracy' AND suite = 'pairs'",
        "suite = 'continuations' AND metric = 'length'",
        "suite = 'continuations'",
    ],
)
def test_means_that_are_missing_are_found(decided: DecidedRun, which: str) -> None:
    findings = decided.problems(f"DELETE FROM evaluation WHERE attempt = 1 AND {which}")
    assert findings
    assert all("it is missing for the model" in one for one in findings)


def test_text_measures_without_scores_are_missing(decided: DecidedRun) -> None:
    findings = decided.problems(
        "DELETE FROM evaluation WHERE suite = 'continuations'",
        "DELETE FROM item_score WHERE suite LIKE 'continuations/%'",
    )
    assert any("length of attempt 4 on continuations: it is missing" in one for one in findings)


@pytest.mark.parametrize("suite", ["pairs", "labeler"])
@pytest.mark.parametrize("metric", ["corrected_win_rate", "win_rate"])
def test_a_measure_that_nothing_asks_for_is_found(
    decided: DecidedRun, suite: str, metric: str
) -> None:
    findings = decided.problems(
        f"INSERT INTO evaluation SELECT 4, 4, '{suite}', '{metric}', digest, 0.9, 0.01, 60"
        " FROM checkpoint WHERE generation = 4"
    )
    assert findings == [f"{metric} of attempt 4 on {suite}: nothing asks for it"]
