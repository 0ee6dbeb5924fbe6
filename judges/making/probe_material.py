"""The passages of a run that its labeler is measured on.

A labeler that knows our own passages by heart must not pass, so probes are made of pages that were
crawled. Pages that are no prose are left out; with too few of them our own passages are added.
"""

from __future__ import annotations

import json
import re

from infra.records import Document, unit_hash
from infra.store import Store
from judges.measuring.probes.making import (
    Passage,
    ProbeMaterial,
    built_in_material,
    join_sentences,
)

MATERIAL_FACT = "probe_documents"
"""The fact about a run that names the documents, so that the same pairs can be made again."""
MAX_PASSAGES, MIN_PASSAGES = 48, 16
MIN_CHARS, MIN_SENTENCES = 120, 3
PROSE_SHARE = 0.6
"""Least share of a passage's characters in lines that end like a sentence."""
_SENTENCE_END = re.compile(r"[.!?。！？][\"')”»]?\s*$")


def probe_material(store: Store, max_chars: int) -> ProbeMaterial:
    """The passages on which this run measures labelers, the same ones whenever it is asked."""
    facts, documents = store.run.facts(), store.crawl.documents("train")
    salt = facts.get("salt", "built-in")
    if MATERIAL_FACT in facts:
        chosen = json.loads(facts[MATERIAL_FACT])
    else:
        documents.sort(key=lambda d: unit_hash(salt, MATERIAL_FACT, d.document_id))
        chosen = [d.document_id for d in documents if _passage(d, max_chars)][:MAX_PASSAGES]
        store.run.set_fact(MATERIAL_FACT, json.dumps(chosen))
    by_id = {d.document_id: d for d in documents}
    made = [_passage(by_id[key], max_chars) for key in chosen if key in by_id]
    passages = list(dict.fromkeys(passage for passage in made if passage))
    own = built_in_material().passages if len(passages) < MIN_PASSAGES else ()
    return ProbeMaterial(salt, (*passages, *own))


def _passage(document: Document, max_chars: int) -> Passage | None:
    """The first prose of a document, in whole sentences and on one line; None if it has none.

    What is put together or shuffled has no lines of its own, so they would give the pair away.
    """
    lines = [line.strip() for line in document.text.splitlines() if line.strip()]
    prose = [line for line in lines if _SENTENCE_END.search(line) and len(line) >= 40]
    text, enough = join_sentences(prose), len(document.text) * PROSE_SHARE
    if sum(map(len, prose)) < min(enough, MIN_CHARS * 4):
        return None
    text = _whole_sentences(text[:max_chars])
    if len(text) < MIN_CHARS or len(re.findall(r"[.!?。！？]", text)) < MIN_SENTENCES:
        return None
    return Passage(_instruction(document), text, document.language)


def _whole_sentences(text: str) -> str:
    ends = [match.end() for match in re.finditer(r"[.!?](?=\s|$)|[。！？]", text)]
    return text[: ends[-1]].strip() if ends else ""


def _instruction(document: Document) -> str:
    """A question that the document answers, from its title, in its language."""
    forms = {"de": "Was ist über dieses Thema zu sagen: {}?", "zh": "请介绍：{}"}
    return forms.get(document.language, "Tell me about this: {}").format(document.title)
