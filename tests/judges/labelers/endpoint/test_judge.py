"""A labeler behind a server: llama.cpp's with the packaged model, and one that misbehaves in every
known way."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from infra.errors import StageError, UserError
from infra.models.folders import packaged_file
from judges.config import EndpointConfig, JudgeConfig
from judges.judgment.pairs import Pair
from judges.labelers.endpoint.judge import EndpointJudge, neutralise_roles
from judges.measuring.probes.making import built_in_material, gold_set, probe_set
from judges.rubrics import load_rubric
from tests.judges.support.fake_server import Reply, Server, message, tops, with_choice

RUBRIC = load_rubric("relevance")
PAIR = Pair("p", "Why does ice float?", "Ice is lighter than water.", "Open from nine to five.")
SUBJECT = probe_set("off_topic", built_in_material()).deciding[:8][0].good


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_llama(port: int) -> subprocess.Popen[bytes]:
    model = packaged_file("smollm2-135m-instruct")
    assert model is not None
    script = Path(__file__).parents[2] / "support" / "llama_server.py"
    process = subprocess.Popen(
        [sys.executable, str(script), str(model), str(port)], stdout=-3, stderr=-3
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5).read()
            return process
        assert process.poll() is None, "the server did not start"
        time.sleep(0.5)
    raise AssertionError("the server did not come up")


@pytest.fixture(scope="module")
def llama() -> Iterator[str]:
    pytest.importorskip(
        "xllamacpp", reason="llama.cpp's server is not installed (pip install xllamacpp)"
    )
    if packaged_file("smollm2-135m-instruct") is None:
        pytest.skip("the packaged model is not installed")
    port = free_port()
    process = start_llama(port)
    yield f"http://127.0.0.1:{port}/v1"
    process.kill()
    process.wait()


@pytest.mark.model
@pytest.mark.timeout(900)
class TestRealServer:
    def test_its_log_probabilities_are_found_and_used(self, llama: str) -> None:
        judge = EndpointJudge(EndpointConfig(url=llama))
        assert judge.methods == ("logprobs", "rationale")
        assert judge.capabilities.num_logprobs >= 5
        (straight,), (swapped,) = (
            judge.compare(RUBRIC, "logprobs", [p]) for p in (PAIR, PAIR.swapped())
        )
        assert straight.log_odds == pytest.approx(-swapped.log_odds, abs=1e-6)
        assert judge.usage.requests >= 5
        assert judge.usage.prompt_tokens > 100

    def test_many_at_once_are_answered_in_order(self, llama: str) -> None:
        judge = EndpointJudge(EndpointConfig(url=llama, concurrency=4))
        subjects = [pair.good for pair in probe_set("off_topic", built_in_material()).deciding[:4]]
        together = judge.score(RUBRIC, "logprobs", subjects)
        alone = [judge.score(RUBRIC, "logprobs", [s])[0] for s in reversed(subjects)][::-1]
        for a, b in zip(together, alone, strict=True):
            assert a.value is not None
            assert a.value == pytest.approx(b.value, abs=1e-6)

    def test_labels_are_counted_where_that_is_asked_for(self, llama: str) -> None:
        judge = EndpointJudge(EndpointConfig(url=llama, method="counts", num_samples=2))
        (comparison,) = judge.compare(RUBRIC, "counts", [PAIR])
        allowed = {
            round(math.log((k + 0.5) / (n - k + 0.5)), 6) for n in (1, 2) for k in range(n + 1)
        }
        assert not comparison.is_scored or round(comparison.shown_first or 0.0, 6) in allowed

    def test_prompts_are_completed(self, llama: str) -> None:
        judge = EndpointJudge(EndpointConfig(url=llama))
        texts = judge.complete(["Water boils at", "The capital of France is"], 6, 0.0, 1)
        assert all(text.text for text in texts)
        assert "Paris" in texts[1].text

    def test_a_killed_server_is_waited_for_and_nothing_is_lost(self, llama: str) -> None:
        port = free_port()
        process = start_llama(port)
        judge = EndpointJudge(
            EndpointConfig(url=f"http://127.0.0.1:{port}/v1", max_retries=0, concurrency=2)
        )
        process.kill()
        process.wait()
        started: list[subprocess.Popen[bytes]] = []
        timer = threading.Timer(3.0, lambda: started.append(start_llama(port)))
        timer.start()
        comparisons = judge.compare(RUBRIC, "logprobs", gold_set("off_topic").pairs[:3])
        timer.join()
        started[0].kill()
        started[0].wait()
        assert all(c.is_scored for c in comparisons)


def judge_at(server: Server, **settings: Any) -> EndpointJudge:
    return EndpointJudge(EndpointConfig(url=server.url, max_retries=0, **settings))


def by_logprobs(logprobs: dict[str, Any]) -> Reply:
    return lambda body: message("", logprobs=logprobs if body.get("logprobs") else None)


def test_all_spellings_of_a_label_are_summed(served: Any) -> None:
    judge = judge_at(
        served(by_logprobs(tops(Yes=0.3, _yes=0.2, yes=0.1, No=0.15, _no=0.05, Maybe=0.2)))
    )
    (answer,) = judge.score(RUBRIC, "logprobs", [SUBJECT])
    assert answer.value == pytest.approx(0.6 / 0.8)


def test_a_label_that_is_not_listed_has_at_most_the_least_listed_probability(served: Any) -> None:
    judge = judge_at(served(by_logprobs(tops(Yes=0.9, Maybe=0.05))))
    (answer,) = judge.score(RUBRIC, "logprobs", [SUBJECT])
    assert answer.value == pytest.approx(0.9 / 0.95)


def test_what_is_off_the_menu_is_unscored(served: Any) -> None:
    judge = judge_at(served(by_logprobs(tops(Perhaps=0.9, Well=0.1))))
    (answer,) = judge.score(RUBRIC, "logprobs", [SUBJECT])
    assert (answer.value, answer.reason) == (None, "off_menu")
    (comparison,) = judge.compare(RUBRIC, "logprobs", [PAIR])
    assert (comparison.is_scored, comparison.reason) == (False, "off_menu")


def test_fewer_alternatives_are_asked_for_where_twenty_are_too_many(served: Any) -> None:
    def reply(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if body.get("top_logprobs", 0) > 5:
            return 400, {"error": {"message": "at most 5"}}
        return message("", logprobs=tops(Yes=0.6, No=0.4))

    assert judge_at(served(reply)).capabilities.num_logprobs == 5


@pytest.mark.parametrize(
    ("repeats", "method"),
    [(True, "counts"), (False, "text")],
    ids=["a seed repeats", "a seed is ignored"],
)
def test_without_logprobs_labels_are_counted_or_read(
    served: Any, repeats: bool, method: str
) -> None:
    numbers = iter(range(1000))
    judge = judge_at(
        served(lambda _: message("Yes." if repeats else f"Word {next(numbers)}.\nAnswer: yes")),
        num_samples=4,
    )
    assert judge.methods == (method, "rationale")
    (answer,) = judge.score(RUBRIC, method, [SUBJECT])
    votes = 4 if method == "counts" else 1
    assert answer.value == pytest.approx((votes + 0.5) / (votes + 1))


@pytest.mark.parametrize(
    ("text", "finish", "reason"),
    [
        ("I cannot help with that.", "stop", "refusal"),
        ("", "content_filter", "refusal"),
        ("Let me think about this at", "length", "truncated"),
        ("Maybe.", "stop", "off_menu"),
        ("...", "stop", "parse"),
    ],
)
def test_answers_without_a_label_say_why(served: Any, text: str, finish: str, reason: str) -> None:
    judge = judge_at(served(lambda _: message(text, finish)), method="text")
    (answer,) = judge.score(RUBRIC, "text", [SUBJECT])
    assert (answer.value, answer.reason) == (None, reason)


def test_the_final_answer_is_the_verdict(served: Any) -> None:
    judge = judge_at(served(lambda _: message("Reply B is fine. Final answer: A")), method="text")
    (comparison,) = judge.compare(RUBRIC, "text", [PAIR])
    assert (comparison.shown_first or 0) > 0 > (comparison.shown_second or 0), (
        "whoever stands first: taken out by the mean"
    )
    assert comparison.log_odds == 0


def test_one_bad_item_does_not_end_the_batch(served: Any) -> None:
    def reply(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        bad = "poison" in body["messages"][0]["content"]
        return (
            (500, {"error": {"message": "boom"}})
            if bad
            else message("", logprobs=tops(A=0.7, B=0.3))
        )

    judge = judge_at(served(reply))
    comparisons = judge.compare(RUBRIC, "logprobs", [PAIR, Pair("q", "poison", "a", "b"), PAIR])
    assert [c.is_scored for c in comparisons] == [True, False, True]
    assert comparisons[1].reason == "backend"
    assert judge.usage.failures > 0


def test_a_busy_server_is_asked_again(served: Any) -> None:
    answers = iter([True, True, True, False, False])

    def reply(_: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return (
            message("", logprobs=tops(A=0.7, B=0.3))
            if next(answers, True)
            else (429, {"error": {"message": "slow"}})
        )

    server = served(reply)
    judge = EndpointJudge(EndpointConfig(url=server.url, max_retries=3))
    (comparison,) = judge.compare(RUBRIC, "logprobs", [PAIR])
    assert comparison.is_scored


def test_the_key_comes_from_the_environment_and_is_shown_nowhere(
    served: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    server = served(by_logprobs(tops(Yes=0.6, No=0.4)))
    judge = judge_at(server, key_variable="MY_KEY")
    judge.score(RUBRIC, "logprobs", [SUBJECT])
    assert server.keys == {"Bearer sk-very-secret"}
    assert "secret" not in judge.name
    refused = served(lambda _: (401, {"error": {"message": "bad key sk-very-secret"}}))
    with pytest.raises(UserError) as caught:
        judge_at(refused, key_variable="MY_KEY")
    assert "MY_KEY" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "secret" not in "".join(capfd.readouterr())


def test_a_server_that_stays_away_ends_the_stage_with_what_to_do() -> None:
    with pytest.raises(StageError, match="start the server"):
        EndpointJudge(
            EndpointConfig(url=f"http://127.0.0.1:{free_port()}/v1", max_retries=0, patience_s=0.0)
        )


def test_a_budget_ends_the_stage(served: Any) -> None:
    server = served(by_logprobs(tops(Yes=0.6, No=0.4)))
    judge = judge_at(server, prompt_price=1e6, max_cost=65.0)
    with pytest.raises(StageError, match="max_cost"):
        judge.score(
            RUBRIC,
            "logprobs",
            [pair.good for pair in probe_set("off_topic", built_in_material()).deciding[:8]],
        )


def test_an_unknown_model_and_an_unsupported_method_are_named(served: Any) -> None:
    def reply(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if body["model"] == "other":
            return 404, {"error": {"message": "no model of this name"}}
        return message("yes")

    server = served(reply)
    with pytest.raises(UserError, match="does not have this model") as caught:
        judge_at(server, model="other")
    assert "no model of this name" in str(caught.value)
    assert judge_at(server, model="an-alias").capabilities.model == "an-alias"
    with pytest.raises(UserError, match=r"judge\.endpoint\.method"):
        judge_at(server, method="logprobs")


def test_untrusted_text_has_no_roles(served: Any) -> None:
    server = served(by_logprobs(tops(A=0.7, B=0.3)))
    judge = judge_at(server)
    judge.compare(
        RUBRIC,
        "logprobs",
        [Pair("p", "<|im_start|>system", "</s>[INST]", "<end_of_turn> <div> a<b")],
    )
    sent = server.asked[-1]["messages"][0]["content"]
    assert not any(token in sent for token in ("<|im_start|>", "</s>", "[INST]", "<end_of_turn>"))
    assert "<div> a<b" in sent
    assert neutralise_roles("x < y </s>") == "x < y < /s>"


def test_the_recipe_names_it() -> None:
    config = JudgeConfig.model_validate(
        {"kind": "endpoint", "endpoint": {"url": "http://h/v1", "concurrency": 3}}
    )
    assert config.endpoint.concurrency == 3


HOSTILE: dict[str, tuple[int, dict[str, Any] | str]] = {
    "HTML": (200, "<!doctype html><title>Bad gateway</title>"),
    "cut JSON": (200, '{"choices": [{"message": {"content": "A"'),
    "deep JSON": (200, "[" * 50_000),
    "empty": (200, ""),
    "a list": (200, "[1]"),
    "no choices": (200, {"choices": []}),
    "choices null": (200, {"choices": None}),
    "a choice that is a word": (200, {"choices": ["A"]}),
    "message null": (200, with_choice(message=None)),
    "content null": (200, with_choice(message={"content": None})),
    "content a number": (200, with_choice(message={"content": 5})),
    "error with status 200": (200, {"error": {"message": "overloaded sk-abcdefgh1234"}}),
    "error that is a word": (200, {"error": "overloaded"}),
    "logprobs null": (200, with_choice(message={"content": "?"}, logprobs=None)),
    "logprobs of nulls": (
        200,
        with_choice(
            message={"content": "?"},
            logprobs={"content": [{"top_logprobs": [{"token": "A", "logprob": None}]}]},
        ),
    ),
    "half a surrogate": (200, '{"choices": [{"message": {"content": "\\ud83d"}}]}'),
    "usage of words": (200, with_choice(message={"content": "?"}) | {"usage": "many"}),
    "400": (400, {"error": {"message": "too long"}}),
    "400 in HTML": (400, "<html>"),
    "418 null": (418, {"error": None}),
    "403 for this text": (403, {"error": {"message": "flagged by moderation"}}),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("method", ["logprobs", "counts", "text"])
def test_any_reply_costs_its_own_item_alone(served: Any, name: str, method: str) -> None:
    def reply(body: dict[str, Any]) -> tuple[int, dict[str, Any] | str]:
        if "poison" in body["messages"][0]["content"]:
            return HOSTILE[name]
        return message("A", logprobs=tops(A=0.7, B=0.3))

    judge = judge_at(served(reply), method=method, num_samples=2)
    comparisons = judge.compare(RUBRIC, method, [PAIR, Pair("q", "poison", "a", "b"), PAIR])
    assert [c.is_scored for c in comparisons] == [True, False, True]
    assert comparisons[1].reason in ("backend", "off_menu", "parse")
    assert "abcdefgh" not in comparisons[1].raw


def test_log_probabilities_that_stand_for_none_are_left_out(served: Any) -> None:
    logprobs = tops(A=0.7, B=0.3)
    logprobs["content"][0]["top_logprobs"] += [
        {"token": "Tie", "logprob": -9999.0},
        {"token": "C", "logprob": None},
        {"token": "D", "logprob": "-1"},
    ]
    judge = judge_at(served(by_logprobs(logprobs)))
    (comparison,) = judge.compare(RUBRIC, "logprobs", [PAIR])
    assert comparison.shown_first == pytest.approx(math.log(7 / 3))


def test_a_server_that_only_streams_is_read(served: Any) -> None:
    def reply(_: dict[str, Any]) -> tuple[int, str]:
        parts = [{"choices": [{"delta": {"content": c}}]} for c in ("**", "A", "**")]
        end = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
        return 200, "".join(f"data: {json.dumps(p)}\n\n" for p in [*parts, end]) + "data: [DONE]\n"

    (comparison,) = judge_at(served(reply), method="text").compare(RUBRIC, "text", [PAIR])
    assert comparison.is_scored


def test_content_in_parts_is_read(served: Any) -> None:
    parts = [{"type": "text", "text": "Answer: "}, {"type": "text", "text": "A"}]
    server = served(lambda _: (200, with_choice(message={"content": parts}, finish_reason="stop")))
    (comparison,) = judge_at(server, method="text").compare(RUBRIC, "text", [PAIR])
    assert comparison.is_scored


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (402, {"message": "pay first"}),
        (403, {"message": "this key may not use the model"}),
        (429, {"message": "You exceeded your current quota", "code": "insufficient_quota"}),
    ],
)
def test_a_server_that_wants_money_ends_the_stage_at_once(
    served: Any, status: int, error: dict[str, Any]
) -> None:
    server = served(lambda _: (status, {"error": error}))
    with pytest.raises(StageError, match="credit"):
        EndpointJudge(EndpointConfig(url=server.url, max_retries=9))
    assert len(server.asked) == 1


def test_an_item_that_always_hangs_costs_itself_alone(served: Any) -> None:
    def reply(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if "poison" in body["messages"][0]["content"]:
            time.sleep(3)
        return message("", logprobs=tops(A=0.7, B=0.3))

    judge = judge_at(served(reply), timeout_s=1.0)
    comparisons = judge.compare(RUBRIC, "logprobs", [PAIR, Pair("q", "poison", "a", "b"), PAIR])
    assert [c.is_scored for c in comparisons] == [True, False, True]


def test_an_item_at_which_the_server_hangs_up_costs_itself_alone(served: Any) -> None:
    def reply(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if "poison" in body["messages"][0]["content"]:
            raise ConnectionAbortedError
        return message("", logprobs=tops(A=0.7, B=0.3))

    judge = judge_at(served(reply))
    comparisons = judge.compare(RUBRIC, "logprobs", [PAIR, Pair("q", "poison", "a", "b"), PAIR])
    assert [c.is_scored for c in comparisons] == [True, False, True]


def test_passwords_in_addresses_are_not_shown() -> None:
    url = f"http://me:hidden-word@127.0.0.1:{free_port()}/v1"
    with pytest.raises(StageError) as caught:
        EndpointJudge(EndpointConfig(url=url, max_retries=0, patience_s=0.0))
    assert "hidden-word" not in str(caught.value)
