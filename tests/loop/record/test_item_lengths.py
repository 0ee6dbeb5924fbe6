"""Items that do not fit into the model's window, seen before a run begins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.errors import UserError
from infra.models.folders import folder_window, load_tokenizer
from loop.recipe.recipe import Recipe, load_recipe
from loop.record.item_lengths import check_items_fit

WORD = " elephant"


def recipe_with(tmp_path: Path, kind: str, lines: list[dict[str, object]]) -> Recipe:
    file = tmp_path / "items.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    suite = "gate.suites.x"
    return load_recipe("quickstart", [f'{suite}.file="{file}"', f'{suite}.kind="{kind}"'])


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        ("choice", {"prompt": "p", "choices": [WORD * 3000, " b"], "answer": 0}),
        ("pairs", {"good": "a", "bad": WORD * 3000}),
    ],
)
def test_a_text_longer_than_the_window_is_refused(
    tmp_path: Path, tiny_folder: Path, kind: str, item: dict[str, object]
) -> None:
    recipe = recipe_with(tmp_path, kind, [item | {"id": "the long one"}])
    with pytest.raises(UserError, match=r"gate\.suites\.x\.file = 'the long one'.*window"):
        check_items_fit(recipe, tiny_folder)


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        ("bits", {"prompt": WORD * 3000, "gold": " b"}),
        ("executed", {"prompt": WORD * 3000, "check": "math", "reference": "5"}),
    ],
)
def test_a_prompt_longer_than_the_window_is_named(
    tmp_path: Path,
    tiny_folder: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    item: dict[str, object],
) -> None:
    short = item | {"prompt": "p"}
    check_items_fit(recipe_with(tmp_path, kind, [short]), tiny_folder)
    assert "window" not in capsys.readouterr().out
    check_items_fit(recipe_with(tmp_path, kind, [short, item]), tiny_folder)
    output = " ".join(capsys.readouterr().out.split())
    assert "1 of 2 prompts are longer than the model's window" in output


def test_the_part_of_a_gold_answer_that_counts_fits_or_is_refused(
    tmp_path: Path, tiny_folder: Path
) -> None:
    """At most 2,000 bytes count; a model with a small window may still not hold them."""
    recipe = recipe_with(tmp_path, "bits", [{"prompt": "p", "gold": " \u4e00" * 1000}])
    tokens = load_tokenizer(tiny_folder)((" \u4e00" * 500), add_special_tokens=False).input_ids
    if len(tokens) < folder_window(tiny_folder):
        check_items_fit(recipe, tiny_folder)
    else:
        with pytest.raises(UserError, match="window"):
            check_items_fit(recipe, tiny_folder)
