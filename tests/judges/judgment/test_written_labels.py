"""What a written reply says, in English, Chinese and German, and what it does not say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.judgment.written_labels import read_label

AB = ("A", "B")
YES = ("Yes", "No")
JA = ("Ja", "Nein")
SHI = ("是", "否")
TIES = ("A", "B", "Tie")


@pytest.mark.parametrize(
    ("text", "labels", "label"),
    [
        ("A", AB, "A"),
        (" b ", AB, "B"),
        ("**B**", AB, "B"),
        ("`A`.", AB, "A"),
        ("(A)", AB, "A"),
        ("[[B]]", AB, "B"),
        ("Ａ", AB, "A"),
        ('{"label": "B"}', AB, "B"),
        ('```json\n{"label": "b"}\n```', AB, "B"),
        ('"A"', AB, "A"),
        ("A. It is shorter and right.", AB, "A"),
        ("B\n\nIt explains more.", AB, "B"),
        ("Both are fine.\n\nFinal answer: A", AB, "A"),
        ("Reply A is weak.\n**Answer:** B", AB, "B"),
        ("Reply A is weak.\n**Answer: B**", AB, "B"),
        ("Answer: A\nOn reflection:\nAnswer: B", AB, "B"),
        ("My final verdict is: B.", AB, "B"),
        ("Reply B is fine. Final answer: A", AB, "A"),
        ("B 说得对。最终答案：A。", AB, "A"),
        ("B ist gut. Antwort: A", AB, "A"),
        ("\\boxed{B}", AB, ""),
        ("<think>A is better, so A</think>\nB", AB, "B"),
        ("A looks good</think>B", AB, "B"),
        ("[THINK]A[/THINK]B", AB, "B"),
        ("Tie", TIES, "Tie"),
        ("Yes.", YES, "Yes"),
        ("yes, it answers the question", YES, "Yes"),
        ("No - it is about something else.", YES, "No"),
        ("No; the text is a list.", YES, "No"),
        ("Ja.", JA, "Ja"),
        ("Nein, der Text ist eine Liste.", JA, "Nein"),
        ("Der Text ist gut.\nAntwort: Ja", JA, "Ja"),
        ("Mein endgültiges Urteil lautet: Nein.", JA, "Nein"),
        ("„Ja“", JA, "Ja"),
        ("是", SHI, "是"),
        ("是。这段文字回答了问题。", SHI, "是"),
        ("否，内容无关。", SHI, "否"),
        ("两个都可以。\n答案：是", SHI, "是"),
        ("最终答案是：否。", SHI, "否"),
        ("【否】", SHI, "否"),
        ("<think>是</think>否", SHI, "否"),
    ],
)
def test_label_that_is_said_is_read(text: str, labels: tuple[str, ...], label: str) -> None:
    assert read_label(text, labels)[0] == label


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("B is better, not A", AB),
        ("Not A.", AB),
        ("not B, the other one", AB),
        ("A is worse than B.", AB),
        ("a better answer would be longer", AB),
        ("A better answer is B", AB),
        ("A or B", AB),
        ("A/B", AB),
        ("A, B", AB),
        ("A: 3, B: 5", AB),
        ("A\nB", AB),
        ("It is neither A nor B", AB),
        ("I would not say A", AB),
        ("Answer: not A", AB),
        ("The answer is not B.", AB),
        ("Answer: A or B", AB),
        ('{"label": "C"}', AB),
        ('{"verdict": "A"}', AB),
        ('["A"]', AB),
        ("Yes and no", YES),
        ("Yes, but also no", YES),
        ("Yesterday it rained.", YES),
        ("Nobody knows.", YES),
        ("There is no answer", YES),
        ("Jawohl", JA),
        ("Nicht ja, sondern nein", JA),
        ("Kein Nein.", JA),
        ("不是", SHI),
        ("是否相关？", SHI),
        ("不是。", SHI),
        ("答案不是否", SHI),
    ],
)
def test_label_that_is_not_said_is_not_read(text: str, labels: tuple[str, ...]) -> None:
    assert read_label(text, labels) == ("", "off_menu")


@pytest.mark.parametrize(
    ("text", "is_cut", "reason"),
    [
        ("<think>A is better", False, "truncated"),
        ("A", True, "truncated"),
        ("A because", True, "truncated"),
        ("", True, "truncated"),
        ("", False, "parse"),
        ("...", False, "parse"),
        ("I cannot help with that.", False, "refusal"),
        ("I’m sorry, that is not possible.", False, "refusal"),
        ("Ich kann das leider nicht beurteilen.", False, "refusal"),
        ("抱歉，我无法判断。", False, "refusal"),
    ],
)
def test_reply_without_a_label_says_why(text: str, is_cut: bool, reason: str) -> None:
    assert read_label(text, AB, is_cut) == ("", reason)


@given(st.text(max_size=200), st.sampled_from([AB, YES, JA, SHI, TIES]), st.booleans())
def test_any_reply_gives_a_label_of_the_menu_or_a_reason(
    text: str, labels: tuple[str, ...], is_cut: bool
) -> None:
    label, reason = read_label(text, labels, is_cut)
    assert (label in labels) != (reason in ("truncated", "refusal", "off_menu", "parse"))
