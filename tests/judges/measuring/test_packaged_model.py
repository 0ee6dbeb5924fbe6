"""The packaged model: converted faithfully, labels a little, and takes a training step."""

from __future__ import annotations

import json
import pydoc_data.topics
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from infra.models.folders import load_model, load_tokenizer, packaged_file
from infra.models.language_model import LanguageModel
from judges.config import ScriptedConfig
from judges.labelers.local import LocalJudge
from judges.labelers.scripted import ScriptedJudge
from judges.measuring.admission import measure_labeler
from judges.measuring.probes.making import built_in_material
from judges.rubrics import load_rubric
from tests.trainers.support.ranks import job, make_task, run_ranks

pytestmark = [pytest.mark.model, pytest.mark.timeout(2400)]
REFERENCE = "packaged:smollm2-135m-instruct"


@pytest.fixture(scope="module")
def gguf_file(packaged_folder: Path) -> Path:
    file = packaged_file("smollm2-135m-instruct")
    assert file is not None
    return file


def test_tokens_match_transformers_own_gguf_tokenizer(
    packaged_folder: Path, gguf_file: Path
) -> None:
    ours = load_tokenizer(packaged_folder)
    theirs = AutoTokenizer.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name)
    corpus = [
        *pydoc_data.topics.topics.values(),
        "é 中文 🙂 \t\r\n  x",
        "<|im_start|>user\nhi<|im_end|>",
        "1234.5e-6",
        "",
    ]
    for text in corpus:
        ids = ours(text[:8000], add_special_tokens=False).input_ids
        assert ids == theirs(text[:8000], add_special_tokens=False).input_ids
    assert ours.chat_template == theirs.chat_template
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        assert getattr(ours, name) == getattr(theirs, name)


def test_logits_match_transformers_own_gguf_loader(packaged_folder: Path, gguf_file: Path) -> None:
    ours, tokenizer = load_model(packaged_folder), load_tokenizer(packaged_folder)
    loaded = AutoModelForCausalLM.from_pretrained(
        gguf_file.parent, gguf_file=gguf_file.name, dtype=torch.float32
    )
    theirs = loaded.eval()
    for text in (
        "The capital of France is",
        "def f(x):\n    return x +",
        ">>> [i for i in range(3)]\n",
    ):
        ids = tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            assert torch.allclose(ours(ids).logits, theirs(ids).logits, atol=1e-4)


def test_it_answers_in_its_chat_template(packaged_folder: Path) -> None:
    model = LanguageModel(packaged_folder, exact=True)
    (answer,) = model.complete([model.chat_prompt("What is the capital of France?")], 16, 0.0, 0)
    assert "Paris" in answer.text
    assert answer.finished


class LikelihoodOnly(LocalJudge):
    """The labeler with one elicitation method, so that measuring it takes seconds."""

    methods = ("likelihood",)


def test_it_is_admitted_where_it_is_right_by_a_margin(packaged_folder: Path) -> None:
    """What hangs on one pair differs between processors, and is not asserted."""
    labeler, material = LikelihoodOnly(REFERENCE), built_in_material()
    result = measure_labeler(labeler, load_rubric("coherence"), material)
    assert result.admission.admitted
    tested = [r for r in result.results if r.half == "test" and not r.probe.startswith("sentinel")]
    assert tested
    for probe in tested:
        assert probe.accuracy >= 0.9
        assert probe.lower > probe.rule_limit


@pytest.mark.parametrize("rubric", ["coherence", "relevance", "correctness"])
def test_a_coin_is_refused(rubric: str) -> None:
    coin = ScriptedJudge(ScriptedConfig(accuracy=0.5))
    assert not measure_labeler(coin, load_rubric(rubric), built_in_material()).admission.admitted


@pytest.mark.nightly
def test_likelihood_is_its_best_method_for_coherence(packaged_folder: Path) -> None:
    labeler = LocalJudge(REFERENCE)
    admission = measure_labeler(labeler, load_rubric("coherence"), built_in_material()).admission
    assert admission.admitted
    assert admission.method == "likelihood"


def test_a_training_step_lowers_the_loss_on_its_own_text(
    packaged_folder: Path, tmp_path: Path
) -> None:
    text = "The frobnicator quuxes seven widgets whenever the moon is green. " * 3
    task = make_task("sft", packaged_folder, tmp_path, [{"prompt": "", "completion": text}] * 2)
    run_ranks(1, [job(task, {"batch_tokens": 64, "max_tokens": 64})])
    before = LanguageModel(packaged_folder, exact=True).score([("", text)])[0].mean_logp
    after = LanguageModel(Path(task.target), exact=True).score([("", text)])[0].mean_logp
    assert after > before
    config = json.loads((Path(task.target) / "config.json").read_text())
    assert config["tie_word_embeddings"] is True
