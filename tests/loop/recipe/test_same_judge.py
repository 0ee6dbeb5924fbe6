"""The same model under another name must not ask or decide at the gate."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from infra.errors import UserError
from infra.models.folders import resolve_model
from judges.config import JudgeConfig
from loop.recipe.same_judge import check_other_weights, same_judge


def local(model: str) -> JudgeConfig:
    return JudgeConfig(kind="local", model=model)


def server(url: str, model: str = "", *more_urls: str) -> JudgeConfig:
    endpoint = {"url": url, "model": model, "more_urls": list(more_urls)}
    return JudgeConfig.model_validate({"kind": "endpoint", "endpoint": endpoint})


PACKAGED = local("packaged:smollm2-135m-instruct")
SERVER = server("http://127.0.0.1:8000/v1", "Qwen/Qwen2.5-7B-Instruct")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (PACKAGED, PACKAGED),
        (PACKAGED, local("hub:HuggingFaceTB/SmolLM2-135M-Instruct")),
        (PACKAGED, server("https://example.org/v1", "HuggingFaceTB/SmolLM2-135M-Instruct")),
        (local("models/own"), local("./models/../models/own/")),
        (SERVER, local("hub:Qwen/Qwen2.5-7B-Instruct")),
        (SERVER, server("http://other.example:9000/v1", "qwen2.5-7b-instruct")),
        (SERVER, server("http://localhost:8000/v1/")),
        (SERVER, server("http://[::1]:8000/v1")),
        (server("https://API.example.org/v1"), server("https://api.example.org:443/v1", "m")),
        (SERVER, server("http://a.example/v1", "", "http://127.0.0.1:8000/v1")),
    ],
)
def test_the_same_model_is_known_under_its_other_names(
    one: JudgeConfig, other: JudgeConfig
) -> None:
    assert same_judge(one, other)
    assert same_judge(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (PACKAGED, local("tiny:llama")),
        (PACKAGED, SERVER),
        (SERVER, server("http://127.0.0.1:8000/v1", "another")),
        (SERVER, server("http://127.0.0.1:8001/v1")),
        (SERVER, server("http://127.0.0.1:8000/other/v1")),
        (local("runs/one/model"), local("runs/two/model")),
        (PACKAGED, JudgeConfig(kind="scripted")),
    ],
)
def test_other_models_may_ask(one: JudgeConfig, other: JudgeConfig) -> None:
    assert not same_judge(one, other)
    assert not same_judge(other, one)


def test_a_copy_of_the_labeler_in_another_folder_is_refused(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(resolve_model("tiny:llama", "model"), copy)
    with pytest.raises(UserError, match=r"asker\.model = .*copy.*same weights.*tiny:llama"):
        check_other_weights("aim.answers.asker.model", local(str(copy)), local("tiny:llama"))
    check_other_weights("aim.answers.asker.model", local(str(copy)), local("tiny:qwen"))
