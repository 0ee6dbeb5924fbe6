"""Servers that refuse parameters, reason before they answer, or stand at several addresses."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import UserError
from judges.config import RATIONALE, EndpointConfig
from judges.judgment.pairs import Pair
from judges.labelers.endpoint.judge import EndpointJudge
from judges.labelers.endpoint.parameters import Parameters
from judges.rubrics import load_rubric
from tests.judges.support.fake_server import Reply, Server, message, tops, with_choice

RUBRIC = load_rubric("relevance")
PAIR = Pair("p", "Why does ice float?", "Ice is lighter than water.", "Open from nine to five.")
Body = dict[str, Any]
Refusal = Callable[[Body], str]


def judge_at(server: Server, **settings: Any) -> EndpointJudge:
    return EndpointJudge(EndpointConfig(url=server.url, max_retries=0, **settings))


def shown(capfd: pytest.CaptureFixture[str]) -> str:
    """What was printed, in one line."""
    return " ".join("".join(capfd.readouterr()).split())


def refusing(refusal: Refusal, status: int = 400) -> Reply:
    """A server that answers A, or refuses a request with these words; empty words refuse none."""

    def reply(body: Body) -> tuple[int, Body | str]:
        if words := refusal(body):
            return status, {"error": {"message": words, "type": "invalid_request_error"}}
        has_logprobs = body.get("logprobs")
        return message("Answer: A", logprobs=tops(A=0.7, B=0.3) if has_logprobs else None)

    return reply


def no_old_limit(body: Body) -> str:
    return "max_tokens" in body and (
        "Unsupported parameter: 'max_tokens' is not supported with this model."
        " Use 'max_completion_tokens' instead."
    )


def no_new_limit(body: Body) -> str:
    return "max_completion_tokens" in body and (
        "[{'type': 'extra_forbidden', 'loc': ('body', 'max_completion_tokens'),"
        " 'msg': 'Extra inputs are not permitted'}]"
    )


def only_warm(body: Body) -> str:
    return body.get("temperature", 1) != 1 and (
        "Unsupported value: 'temperature' does not support 0.0 with this model."
        " Only the default (1) value is supported."
    )


def no_seed(body: Body) -> str:
    return "seed" in body and "Unrecognized request argument supplied: seed"


def no_logprobs(body: Body) -> str:
    return "logprobs" in body and "This model does not support logprobs."


def sixteen_at_least(body: Body) -> str:
    limit = body.get("max_tokens", body.get("max_completion_tokens", 99))
    return limit < 16 and (
        f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16,"
        f" but got {limit} instead (tokens)."
    )


def only_streams(body: Body) -> str:
    return not body.get("stream") and (
        "This model only support stream mode, please enable the stream parameter to access it."
    )


def all_together(body: Body) -> str:
    refusals = (no_old_limit, only_warm, no_seed, no_logprobs, sixteen_at_least)
    return next((words for one in refusals if (words := one(body))), "")


REFUSALS: dict[str, tuple[Refusal, str]] = {
    "the old limit": (no_old_limit, "max_completion_tokens is sent instead"),
    "a temperature": (only_warm, "refuses temperature; it is left out"),
    "a seed": (no_seed, "refuses seed; it is left out"),
    "few tokens": (sixteen_at_least, "wants a limit of 16 tokens at least"),
    "all but streams": (only_streams, "only streams"),
    "all of these": (all_together, "refuses seed"),
}


@pytest.mark.parametrize("status", [400, 422, 200])
@pytest.mark.parametrize("name", REFUSALS)
def test_what_a_server_refuses_is_changed_remembered_and_named(
    served: Any, capfd: pytest.CaptureFixture[str], name: str, status: int
) -> None:
    refusal, words = REFUSALS[name]
    server = served(refusing(refusal, status))
    judge = judge_at(server)
    number = len(server.asked)
    comparisons = judge.compare(RUBRIC, judge.methods[0], [PAIR, PAIR])
    assert all(one.is_scored for one in comparisons)
    assert not any(refusal(body) for body in server.asked[number:]), "asked once is enough"
    assert shown(capfd).count(words) == 1


@pytest.mark.parametrize("refusal", [no_seed, only_warm, no_old_limit])
def test_a_refusal_without_a_reason_is_found_by_trying(served: Any, refusal: Refusal) -> None:
    server = served(refusing(lambda body: "Bad request" if refusal(body) else ""))
    judge = judge_at(server)
    (comparison,) = judge.compare(RUBRIC, judge.methods[0], [PAIR])
    assert comparison.is_scored
    kept = {"seed", "temperature"} - {"seed" if refusal is no_seed else "temperature"}
    assert kept <= server.asked[-1].keys(), "what was not the reason is still sent"


def test_a_model_without_log_probabilities_is_asked_for_words(served: Any) -> None:
    judge = judge_at(served(refusing(no_logprobs)))
    assert judge.methods == ("counts", RATIONALE)


def test_a_refusal_in_the_midst_of_a_stage_costs_no_item(served: Any) -> None:
    number = iter(range(1000))
    late = lambda body: no_seed(body) if next(number) > 6 else ""  # noqa: E731
    judge = judge_at(served(refusing(late)), method="text")
    comparisons = judge.compare(RUBRIC, "text", [PAIR] * 8)
    assert all(one.is_scored for one in comparisons)


def test_a_text_that_is_too_long_changes_no_parameter(served: Any) -> None:
    def too_long(body: Body) -> str:
        if "poison" not in body["messages"][0]["content"]:
            return ""
        return (
            "This model's maximum context length is 4096 tokens. However, you requested 5000"
            " tokens (4872 in the messages, 128 in max_tokens). Please reduce the length."
        )

    server = served(refusing(too_long))
    judge = judge_at(server, method="text")
    bad, good = judge.compare(RUBRIC, "text", [Pair("q", "poison", "a", "b"), PAIR])
    assert not bad.is_scored
    assert good.is_scored
    assert "max_tokens" in server.asked[-1]


@given(st.text(), st.text())
def test_no_words_of_a_server_change_parameters_without_end(words: str, named: str) -> None:
    parameters = Parameters()
    wanted = {"seed": 1, "max_tokens": 8, "temperature": 0.0, "logprobs": True}
    words = f"unsupported {words} max_tokens max_completion_tokens seed temperature"
    for _ in range(6):
        sent = parameters.fitted(wanted)
        if not parameters.adapt(sent, words, named):
            break
    else:
        pytest.fail("it goes on for ever")
    assert "logprobs" in parameters.fitted(wanted)


def thinking(body: Body) -> tuple[int, Body]:
    """A model that thinks for a hundred tokens unless its template is told not to."""
    is_off = body.get("chat_template_kwargs", {}).get("enable_thinking") is False
    logprobs = tops(A=0.7, B=0.3) if is_off and body.get("logprobs") else None
    limit = body.get("max_tokens", 0)
    if is_off or limit > 100:
        thought = "" if is_off else "<think>Or B? B is better.</think>\n"
        return message(f"{thought}Answer: A", logprobs=logprobs)
    return message("<think>Let me see: B is", finish="length", logprobs=tops(think=0.9, A=0.1))


def test_a_reasoning_model_gets_tokens_of_its_own(
    served: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    judge = judge_at(served(thinking), reasoning_tokens=500)
    assert judge.methods[0] in ("counts", "text"), "the first token is a thought"
    (comparison,) = judge.compare(RUBRIC, judge.methods[0], [PAIR])
    assert (comparison.shown_first or 0) > 0
    assert "reasons before it answers" not in shown(capfd)


def test_thinking_can_be_switched_off(served: Any) -> None:
    server = served(thinking)
    judge = judge_at(server, enable_thinking=False, reasoning_effort="low", extra={"top_k": 1})
    assert judge.methods[0] == "logprobs"
    judge.compare(RUBRIC, "logprobs", [PAIR])
    assert server.asked[-1]["chat_template_kwargs"] == {"enable_thinking": False}
    assert (server.asked[-1]["reasoning_effort"], server.asked[-1]["top_k"]) == ("low", 1)


@pytest.mark.parametrize(
    "reply",
    [
        thinking,
        lambda _: (
            200,
            with_choice(
                message={"content": "Yes", "reasoning_content": "Hm."}, finish_reason="stop"
            ),
        ),
    ],
)
def test_a_model_that_reasons_unasked_is_named_with_the_remedy(
    served: Any, capfd: pytest.CaptureFixture[str], reply: Reply
) -> None:
    assert judge_at(served(reply)).methods[0] != "logprobs"
    words = shown(capfd)
    assert "judge.endpoint.reasoning_tokens" in words
    assert "judge.endpoint.enable_thinking" in words


def test_reasons_come_first_and_the_last_answer_counts(served: Any) -> None:
    server = served(lambda _: message("B is shorter, so one may say B.\nAnswer: A"))
    (comparison,) = judge_at(server).compare(RUBRIC, RATIONALE, [PAIR])
    assert (comparison.shown_first or 0) > 0
    assert "First give your reasons" in server.asked[-1]["messages"][0]["content"]
    assert json.loads(comparison.raw)[0], "the reasons are kept"


@pytest.mark.parametrize("name", ["model", "max_tokens", "seed", "messages", "stream"])
def test_parameters_of_the_labeler_cannot_be_replaced(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: these are set by the labeler"):
        EndpointConfig(extra={name: 1})


def test_questions_are_spread_over_all_addresses(served: Any) -> None:
    servers = [served(refusing(lambda _: "")) for _ in range(2)]
    judge = judge_at(servers[0], more_urls=[servers[1].url], method="text")
    before = [len(server.asked) for server in servers]
    judge.compare(RUBRIC, "text", [PAIR] * 20)
    counts = [len(server.asked) - n for server, n in zip(servers, before, strict=True)]
    assert sum(counts) == 40
    assert min(counts) > 5


def test_an_address_that_goes_away_is_replaced_by_the_other(served: Any) -> None:
    servers = [served(refusing(lambda _: "")) for _ in range(2)]
    judge = judge_at(servers[0], more_urls=[servers[1].url], method="text")
    servers[0].close()
    comparisons = judge.compare(RUBRIC, "text", [PAIR] * 4)
    assert all(one.is_scored for one in comparisons)


def test_addresses_that_differ_are_refused(served: Any) -> None:
    servers = [served(refusing(refusal)) for refusal in (lambda _: "", no_logprobs)]
    with pytest.raises(UserError, match=r"judge\.endpoint\.more_urls") as caught:
        judge_at(servers[0], more_urls=[servers[1].url])
    assert servers[1].url in str(caught.value)


def test_a_server_without_completions_gets_prompts_as_questions(served: Any) -> None:
    def reply(body: Body) -> tuple[int, Body]:
        if "prompt" in body:
            return 404, {"error": {"message": "This is a chat model."}}
        return message("Paris")

    server = served(reply)
    judge = judge_at(server)
    texts = judge.complete(["The capital of France is"] * 3, 4, 0.0, 1)
    assert [text.text for text in texts] == ["Paris"] * 3
    assert sum("prompt" in body for body in server.asked) <= 3
    judge.complete(["The capital of France is"], 4, 0.0, 1)
    assert "prompt" not in server.asked[-1], "it is known by now"


def test_one_client_serves_all_calls(served: Any) -> None:
    server = served(refusing(lambda _: ""))
    judge = judge_at(server, method="text", concurrency=1)
    for _ in range(3):
        judge.compare(RUBRIC, "text", [PAIR])
    assert len(server.connections) == 1
