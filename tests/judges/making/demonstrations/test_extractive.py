"""Questions that words of the text answer, and prompts of one's own whose completions can be
checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import UserError
from infra.models.language_model import CompletedText
from judges.config import ScriptedConfig
from judges.labelers.scripted import ScriptedJudge
from judges.making.demonstrations.extractive import (
    Span,
    answer_request,
    find_spans,
    read_span_question,
    span_question_request,
    write_extractive,
)
from judges.making.demonstrations.instructions import read_question
from judges.making.demonstrations.prompts import read_prompts
from judges.making.demonstrations.wordings import all_wordings, wording
from tests.judges.making.passages.test_samples import sample

PASSAGE = (
    "The bridge was opened by Queen Elizabeth in 1973"
    " and carries 40 trains a day through join_paths()."
)


class Writer(ScriptedJudge):
    """Asks about the span it is shown, and answers as it is told to."""

    def __init__(self, answers: dict[str, str]) -> None:
        super().__init__(ScriptedConfig())
        self.answers = answers
        self.asked: list[str] = []

    def complete(self, prompts, max_new_tokens, temperature, seed):
        self.asked += prompts
        return [CompletedText(self._one(prompt), 5, True) for prompt in prompts]

    def _one(self, prompt: str) -> str:
        if prompt.endswith("Question:"):
            span = prompt.rsplit("Answer: ", 1)[1].split("\n")[0]
            return f" Which thing about the bridge has {len(span)} signs?\nText:"
        length = prompt.rsplit(" signs?", 1)[0].rsplit(" ", 1)[1]
        return self.answers.get(length, "nothing")


def test_spans_are_numbers_names_and_terms_of_the_passage() -> None:
    texts = [span.text for span in find_spans(PASSAGE)]
    assert {"Queen Elizabeth", "40 trains", "join_paths"} <= set(texts)
    assert any(text.startswith("1973") for text in texts)
    for span in find_spans(PASSAGE):
        assert PASSAGE[span.start : span.start + len(span.text)] == span.text


@given(st.text(max_size=500))
def test_spans_of_any_text_stand_in_it(text: str) -> None:
    assert all(text[s.start : s.start + len(s.text)] == s.text for s in find_spans(text))


def test_what_the_labeler_finds_again_is_kept_with_its_place_in_the_document() -> None:
    passage = replace(sample("p", PASSAGE), source_start=100)
    spans = {str(len(s.text)): s.text for s in find_spans(PASSAGE)}
    writer = Writer(spans)
    kept = write_extractive(writer, [passage], 0, 2)
    assert len(kept) == 2
    for one in kept:
        assert PASSAGE[one.source_start - 100 : one.source_end - 100] == one.completion
        assert one.prompt.startswith(PASSAGE)
        assert (one.check, one.kind, one.generation) == ("quote", "demonstration", 2)
    assert kept == write_extractive(writer, [passage], 0, 2), "the seed decides"
    assert write_extractive(Writer({}), [passage], 0, 2) == [], "not found again, not kept"


def test_a_question_that_gives_its_answer_away_is_none() -> None:
    span = Span("40 trains", 0)
    assert read_span_question(
        CompletedText("How many trains does the bridge carry?", 5, True), PASSAGE, span
    )
    assert (
        read_span_question(
            CompletedText("Does the bridge carry 40 trains?", 5, True), PASSAGE, span
        )
        is None
    )
    assert (
        read_span_question(
            CompletedText("Where were ships of the line built?", 5, True), PASSAGE, span
        )
        is None
    )
    assert span_question_request(PASSAGE, "x").endswith("Answer: x\nQuestion:")
    assert answer_request(PASSAGE, "y?").endswith("Question: y?\nAnswer:")


def test_prompts_of_ones_own_are_read_with_their_checks(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(
        '{"prompt": "What is 6 * 7?", "check": "math", "answer": 42}\n\n'
        '{"prompt": "JSON!", "check": "json:{}"}\n'
    )
    first, second = read_prompts(path, 3)
    assert (first.prompt, first.completion, first.check, first.kind) == (
        "What is 6 * 7?",
        "42",
        "math",
        "prompt",
    )
    assert (second.completion, second.origin, second.generation) == ("", "file", 3)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not valid JSON"),
        ('{"prompt": "x"}', "check"),
        ('{"prompt": "x", "check": "magic"}', "magic"),
        ("[1]", "line 1': the line is not a JSON object."),
        ('{"prompt": 5, "check": "math"}', 'the value of "prompt" is not a string.'),
        ('{"prompt": "x", "check": "math", "answer": [4]}', "neither a string nor a number."),
        ('{"prompt": "x", "check": "math", "answer": null}', "neither a string nor a number."),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(line)
    with pytest.raises(UserError, match=r"judge\.prompts") as caught:
        read_prompts(path, 1)
    assert problem in str(caught.value)
    with pytest.raises(UserError, match="cannot be read"):
        read_prompts(tmp_path / "none", 1)


@pytest.mark.parametrize(
    ("passage", "wanted"),
    [
        (
            "长江全长约6300公里，流经《三国演义》中的赤壁，用Python写的地图也有它。",
            {"6300公里", "三国演义", "Python"},
        ),
        (
            "Die Donau ist 2850 Kilometer lang und fließt durch Österreich.",
            {"2850 Kilometer", "Österreich"},
        ),
        ("他在三十年后回到了这里。", {"三十年"}),
    ],
)
def test_spans_of_other_languages(passage: str, wanted: set[str]) -> None:
    assert wanted <= {span.text for span in find_spans(passage)}
    for request in (span_question_request(passage, "x"), answer_request(passage, "y?")):
        assert passage in request
        assert "Question:" not in request, "examples are in the language of the passage"


def test_a_question_that_names_its_answer_is_left_out_in_chinese() -> None:
    passage, span = "长江全长约6300公里。", Span("6300公里", 5)
    good, bad = "长江全长是多少？", "长江是6300公里长吗？"
    assert read_span_question(CompletedText(good, 5, True), passage, span) == good
    assert read_span_question(CompletedText(bad, 5, True), passage, span) is None


def test_every_example_is_what_it_shows() -> None:
    for own in all_wordings().values():
        for text, answer, question in own.spans:
            span = Span(answer, text.index(answer))
            assert answer in {s.text for s in find_spans(text)} | {"len"}
            other = Span("nothing", 0)
            assert read_span_question(CompletedText(question, 5, True), text, other) is None
            assert wording(text) is own
            assert span.text not in question
        for text, question in own.questions:
            assert wording(text) is own
            assert read_question(CompletedText(question, 5, True), text) is None, "it is known"
