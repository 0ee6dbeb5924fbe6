"""The section `[aim]` of a recipe, as a whole recipe is checked."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from infra.errors import UserError
from loop.recipe.gate_needs import aim_threshold, gate_units, held_out_pages
from loop.recipe.recipe import Recipe, development_items, load_recipe, stored_recipe
from loop.record.input_checks import check_inputs


def written(folder: Path, count: int = 120) -> Path:
    file = folder / "exam.jsonl"
    lines = [{"prompt": f"{i} + 1 =", "gold": f" {i + 1}"} for i in range(count)]
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


def loaded(file: Path, *overrides: str) -> Recipe:
    options = ['aim.kind="exam"', f'aim.exam.file="{file}"', *overrides]
    return load_recipe("quickstart", options)


def test_without_the_section_the_aim_is_text() -> None:
    recipe = load_recipe("quickstart", [])
    assert recipe.aim.kind == "text"
    assert recipe.gate_config() == recipe.gate
    assert development_items(recipe) == {}
    assert recipe.crawl_config().held_out_files == []


def test_an_exam_is_held_out_from_training_and_part_of_what_a_run_is(tmp_path: Path) -> None:
    file = written(tmp_path)
    recipe = loaded(file)
    assert recipe.crawl_config().held_out_files == [str(file)]
    assert list(recipe.gate_config().suites) == ["exam"]
    assert recipe.gate_rules()[0].higher_is_better is False
    assert stored_recipe(json.dumps(recipe.identity())).gate_config() == recipe.gate_config()
    before = recipe.digest
    written(tmp_path, 121)
    assert loaded(file).digest != before


def test_selection_gets_the_development_part_and_no_other(tmp_path: Path) -> None:
    recipe = loaded(written(tmp_path))
    items = development_items(recipe)
    assert 20 < len(items) < 55, "about 0.3 of 120"
    without = loaded(written(tmp_path), "aim.exam.development_share=0.0")
    assert development_items(without) == {}
    assert gate_units(without) > gate_units(recipe)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], r"aim\.exam\.file: the aim is an exam, and there is none"),
        (['aim.exam.file="nowhere.jsonl"'], r"aim\.exam\.file = 'nowhere.jsonl'.*cannot be read"),
        (['aim.exam.kind="answers"'], r"aim\.exam\.kind"),
        (["aim.exam.sealed_share=1.0"], r"aim\.exam\.sealed_share"),
        (["aim.exam.fil=1"], r"Did you mean 'aim\.exam\.file'"),
        (['aim.exam.file="x"', "aim.exam.sealed_share=0.9"], r"sealed_share = '0.9'.*below 0\.6"),
        (['aim.exam.file="olmo:"'], r"aim\.exam\.file = 'olmo:'"),
        (
            ['aim.exam.file="olmo:a"', 'aim.exam.kind="pairs"'],
            r"only suites of kind bits",
        ),
    ],
)
def test_bad_values_name_key_and_value(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe("quickstart", ['aim.kind="exam"', *overrides])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (['aim.exam.file="e.jsonl"'], r"aim\.exam\.file.*aim\.kind is text"),
        (["aim.exam.items=5"], r"aim\.exam\.items.*aim\.kind is text"),
        (["aim.answers.passages_per_page=2"], r"aim\.answers\.passages_per_page.*no effect"),
        (['aim.kind="answers"', "aim.exam.items=5"], r"aim\.exam\.items.*aim\.kind is answers"),
        (['control="none"', "control_every=3"], r"control_every.*control is none"),
    ],
)
def test_a_key_that_another_key_makes_useless_is_refused(
    overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe("quickstart", overrides)


def test_shares_that_leave_the_gate_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"aim\.exam\.development_share = '0.8'.*too little"):
        loaded(written(tmp_path), "aim.exam.development_share=0.8")


def test_an_exam_too_small_to_ever_show_the_gain_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"aim\.exam\.file.*at least \d+ independent items"):
        loaded(written(tmp_path, 12))
    with pytest.raises(UserError, match=r"the gate part of the exam has 3\."):
        loaded(written(tmp_path), "aim.exam.items=3")
    with pytest.raises(UserError, match=r"raise aim\.exam\.items or gate\.aim_bits"):
        loaded(written(tmp_path), "gate.aim_bits=0.001")


def test_items_of_the_wrong_kind_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"aim\.exam\.file.*line 1.*not an item of kind pairs"):
        loaded(written(tmp_path), 'aim.exam.kind="pairs"')


ANSWERS = 'aim.kind="answers"'


def test_the_labeler_does_not_ask_the_questions_that_measure_the_aim() -> None:
    assert load_recipe("quickstart", [ANSWERS]).gate_config().suites == {}
    asks = "aim.answers.passages_per_page=1"
    with pytest.raises(UserError, match=r"answers\.asker = 'local packaged:smollm2-135m-instruct'"):
        load_recipe("quickstart", [ANSWERS, asks])
    other = 'aim.answers.asker.model="tiny:llama"'
    recipe = load_recipe("quickstart", [ANSWERS, asks, other])
    assert gate_units(recipe) == held_out_pages(recipe) < recipe.aim.answers.items
    assert stored_recipe(json.dumps(recipe.identity())) == recipe.model_copy(
        update={"generations": stored_recipe(json.dumps(recipe.identity())).generations}
    )


def test_an_exam_is_refused_where_the_aim_is_answers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"aim\.kind is answers"):
        load_recipe("quickstart", [ANSWERS, f'aim.exam.file="{written(tmp_path)}"'])


def test_questions_too_few_to_ever_show_the_gain_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"aim\.answers\.items = '1'.*at least \d+ pages with questions"
    ):
        load_recipe("quickstart", [ANSWERS, "aim.answers.items=1"])
    with pytest.raises(UserError, match=r"budget\.pages = '20'.*about 7 of 20 are held out"):
        load_recipe("quickstart", [ANSWERS, "budget.pages=20"])
    with pytest.raises(UserError, match=r"budget\.pages.*or gate\.aim_bits"):
        load_recipe("quickstart", [ANSWERS, "gate.aim_bits=1e-4"])


WRITES = [ANSWERS, "aim.answers.passages_per_page=1"]
ASKER = "aim.answers.asker"
JUDGED = ('gate.suites.own.kind="judged"', 'gate.suites.own.judge.kind="endpoint"')


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            [ANSWERS, f'{ASKER}.model="tiny:llama"'],
            r"asker = \"\{'model': 'tiny:llama'\}\".*passages_per_page is 0.*to 1 or more",
        ),
        ([*WRITES, f'{ASKER}.kind="scripted"'], r"asker\.kind = 'scripted'.*local"),
        ([*WRITES, f"{ASKER}.gold_limit=3"], r"asker\.gold_limit = '3'"),
        ([*WRITES, f"{ASKER}.answer_first=true"], r"asker\.answer_first = 'True'"),
        (
            [*WRITES, f'{ASKER}.kind="endpoint"', f'{ASKER}.model="tiny:llama"'],
            r"asker\.model = 'tiny:llama'.*asker\.kind is endpoint.*endpoint, kind",
        ),
        ([*JUDGED, "gate.suites.own.judge.soft_tokens=5"], r"judge\.soft_tokens = '5'.*compares"),
        (
            ['gate.suites.own.kind="pairs"', 'gate.suites.own.judge.model="tiny:llama"'],
            r"gate\.suites\.own\.judge = .*kind is pairs",
        ),
    ],
)
def test_keys_of_a_labeler_that_do_nothing_for_an_asker_or_a_judge_are_refused(
    overrides: list[str], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "items.jsonl"
    form = {"good": "right", "bad": "wrong"} if "pairs" in message else {"prompt": "why?"}
    file.write_text(json.dumps(form))
    suites = [f'gate.suites.own.file="{file}"'] if "gate" in overrides[0] else []
    with pytest.raises(UserError, match=message):
        load_recipe("quickstart", [*overrides, *suites])


@pytest.mark.parametrize(
    "asker", [f'{ASKER}.model="tiny:llama"', f'{ASKER}={{kind="endpoint", endpoint={{model="m"}}}}']
)
def test_an_asker_has_a_kind_and_its_settings(asker: str) -> None:
    load_recipe("quickstart", [*WRITES, asker])


def test_candidates_share_the_level_and_used_items_have_their_price(tmp_path: Path) -> None:
    """By hand: ln(m k (k + 1) / alpha), and ln(1 + 2 m) for each earlier use of the exam."""
    text = load_recipe("quickstart", [])
    assert aim_threshold(text, 1) == pytest.approx(math.log(2 * 2 / 0.05))
    alone = load_recipe("quickstart", ['control="none"'])
    assert aim_threshold(alone, 2) == pytest.approx(math.log(6 / 0.05))
    exam = loaded(written(tmp_path))
    thresholds = [aim_threshold(exam, attempt) for attempt in (1, 2, 3, 5)]
    assert thresholds == pytest.approx([4.382, 7.090, 9.393, 13.528], abs=0.001)
    fourth = loaded(written(tmp_path), "control_every=2", "generations=5")
    by_hand = math.log(20 * 2 / 0.05) + math.log(3 * 5 * 3)
    assert aim_threshold(fourth, 4) == pytest.approx(by_hand)


def test_a_budget_that_pays_for_one_candidate_but_not_for_its_control_is_refused() -> None:
    ten_units = "budget.gate_tokens=2600"
    assert gate_units(load_recipe("quickstart", [ten_units, 'control="none"'])) == 10
    with pytest.raises(UserError, match=r"at least 11 held-out documents.*pays for 10"):
        load_recipe("quickstart", [ten_units])


def test_the_exam_is_no_further_suite(tmp_path: Path) -> None:
    """Such a suite would bring the items for development and the sealed ones to the gate."""
    file = written(tmp_path)
    (tmp_path / "folder").mkdir()
    same = f"{tmp_path}/folder/../exam.jsonl"
    with pytest.raises(UserError, match=r"gate\.suites\.again\.file.*120 of its 120 items"):
        loaded(file, f'gate.suites.again={{file="{same}", kind="bits"}}')


JUDGED_PROMPTS = 'kind="judged", judge={kind="scripted"}'


@pytest.mark.parametrize(
    ("copy", "section"),
    [
        ({"id": "a", "unit": "u", "prompt": "1 + 1 =", "gold": "  2"}, 'kind="bits"'),
        ({"prompt": "1 + 1 =", "gold": "2"}, 'kind="bits"'),
        ({"prompt": "1+1 =", "gold": " 2"}, 'kind="bits"'),
        ({"prompt": "1 ＋ 1 =", "gold": " ２"}, 'kind="bits"'),
        ({"prompt": "1 + 1 =", "choices": ["4", "2"], "answer": 1}, 'kind="choice"'),
        ({"prompt": "1 + 1 =", "check": "math", "reference": "2"}, 'kind="executed"'),
        ({"prompt": "1 + 1 = 2"}, JUDGED_PROMPTS),
        ({"prompt": "1 + 1 ="}, JUDGED_PROMPTS),
        ({"prompt": "1 + 1 =", "check": "math", "reference": "3"}, 'kind="executed"'),
        ({"good": "1 + 1 = 2", "bad": "1 + 1 = 3"}, 'kind="pairs"'),
    ],
)
def test_items_of_the_exam_in_another_file_are_refused(
    copy: dict[str, object], section: str, tmp_path: Path
) -> None:
    """Under other ids and units, with other spaces, as choices or with a check, or as a prompt."""
    file, again = written(tmp_path), tmp_path / "copy.jsonl"
    again.write_text(json.dumps(copy))
    with pytest.raises(UserError, match=r"again\.file = .*copy.jsonl.*1 of its 1 items.*Leave"):
        loaded(file, f'gate.suites.again={{file="{again}", {section}}}')


def test_items_that_are_not_of_the_exam_may_be_a_suite(tmp_path: Path) -> None:
    """Another question; another answer after a prompt that many items of the exam share."""
    again = tmp_path / "other.jsonl"
    suite = f'gate.suites.again={{file="{again}", kind="bits"}}'
    again.write_text(json.dumps({"prompt": "1000 + 1 =", "gold": " 1001"}))
    loaded(written(tmp_path), suite)
    exam = tmp_path / "shared.jsonl"
    exam.write_text(
        "\n".join(json.dumps({"prompt": "A number:", "gold": f" {i}"}) for i in range(120))
    )
    again.write_text(json.dumps({"prompt": "A number:", "gold": " 1001"}))
    loaded(exam, suite)
    again.write_text(json.dumps({"prompt": "A number:", "gold": " 101"}))
    with pytest.raises(UserError, match=r"again\.file"):
        loaded(exam, suite)


@pytest.mark.parametrize("answer", ["2", "3"])
def test_prompts_to_train_on_hold_no_item_of_the_exam_or_of_a_suite(
    answer: str, tmp_path: Path
) -> None:
    prompts, item = tmp_path / "prompts.jsonl", {"prompt": "1 +  1 =", "check": "math"}
    fine = {"prompt": "7 * 7 =", "check": "math", "answer": "49"}
    prompts.write_text(f"{json.dumps(item | {'answer': answer})}\n{json.dumps(fine)}")
    named = f'judge.prompts="{prompts}"'
    with pytest.raises(UserError, match=r"prompts.*1 of its 2 prompts are items of the exam"):
        loaded(written(tmp_path), named)
    suite = tmp_path / "suite.jsonl"
    suite.write_text(json.dumps({"prompt": "1 + 1 =", "gold": " 2"}))
    with pytest.raises(UserError, match=r"items of gate\.suites\.own,"):
        load_recipe(
            "quickstart", [named, f'gate.suites.own={{file="{suite}", kind="bits", role="report"}}']
        )
    prompts.write_text(json.dumps(fine))
    loaded(written(tmp_path), named)


def test_a_margin_at_which_gains_are_clipped_is_refused(tmp_path: Path) -> None:
    suite = f'gate.suites.more={{file="{written(tmp_path)}", kind="bits", margin=0.2}}'
    with pytest.raises(UserError, match=r"suites\.more\.margin = 0\.2 is not below clip_bits"):
        load_recipe("quickstart", [suite])


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (
            [ANSWERS, "aim.answers.passages_per_page=1", 'aim.answers.asker.model="/nowhere"'],
            r"aim\.answers\.asker\.model",
        ),
        (['candidates.own.train.steps=["nowhere:Step"]'], r"candidates\.own\.train\.steps"),
    ],
)
def test_what_only_a_part_of_the_run_loads_is_checked_before_it(
    overrides: list[str], key: str, tmp_path: Path
) -> None:
    recipe = load_recipe("dry_run", overrides)
    with pytest.raises(UserError, match=key):
        check_inputs(recipe, str(tmp_path / "run"))
