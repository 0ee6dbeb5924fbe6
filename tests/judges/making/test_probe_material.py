"""The passages of a run on which its labeler is measured, from pages with lines of their own."""

from __future__ import annotations

import pydoc

import pytest

from infra.records import Document
from infra.store import Store
from judges.making.probe_material import probe_material
from judges.measuring.probes.making import ProbeMaterial, probe_set
from tests.infra.support.store_rows import add_documents

MODULES = (
    "argparse bisect calendar cmath collections configparser copy csv datetime decimal difflib dis"
    " doctest email.message enum filecmp fractions ftplib functools getpass gettext glob gzip"
    " hashlib heapq hmac http.client imaplib inspect ipaddress itertools json"
)


def reference_pages() -> list[Document]:
    """The help on modules of the standard library, as a crawl of its pages gives it."""
    return [
        Document(
            name, name, f"http://h/{name}", name, "\n".join(prose(name)), "en", "x", "train", 1
        )
        for name in MODULES.split()
    ]


def prose(name: str) -> list[str]:
    lines = [line.strip(" |") for line in pydoc.plaintext.document(pydoc.locate(name)).splitlines()]
    return [line for line in lines if line.endswith(".") and len(line) > 40]


@pytest.fixture
def material(store: Store) -> ProbeMaterial:
    add_documents(store, reference_pages())
    return probe_material(store, 900)


def test_passages_of_pages_are_on_one_line_and_the_same_when_asked_again(
    store: Store, material: ProbeMaterial
) -> None:
    assert len(material.passages) >= 16
    assert all("\n" not in passage.text for passage in material.passages)
    assert probe_material(store, 900) == material


@pytest.mark.parametrize("probe", ["shuffled_words", "boilerplate", "vague"])
def test_no_rule_of_one_feature_knows_the_better_text_of_reference_pages(
    material: ProbeMaterial, probe: str
) -> None:
    made = probe_set(probe, material)
    assert len(made.deciding) >= 60
    assert made.limit < 0.8
