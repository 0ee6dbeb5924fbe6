"""Lineage: from a generation to the pages behind it, and from a page to its generations."""

from __future__ import annotations

import pyarrow as pa

from infra.store.reader import QueryRow, Reader

# What each item of a manifest was made from. The document of a preference is that of its prompt.
_ITEMS = """
SELECT m.generation, m.arm, m.kind, m.item_id, s.origin, s.prompt,
       CASE WHEN p.preference_id IS NULL THEN s.completion END AS completion,
       p.chosen, p.rejected, p.labeler, d.document_id, d.url, pg.page_id, pg.domain, pg.fetched_at,
       pg.digest AS page_digest, pg.warc_file, pg.warc_offset,
       coalesce(pm.verdict, pg.train) AS permission,
       coalesce(pm.reason, '') AS permission_reason,
       coalesce(pm.evidence, '') AS permission_evidence
FROM manifest m
LEFT JOIN preference p ON m.kind = 'preference' AND p.preference_id = m.item_id
LEFT JOIN sample s ON s.sample_id = coalesce(p.sample_id, m.item_id)
LEFT JOIN document d ON d.document_id = s.document_id
LEFT JOIN page pg ON pg.page_id = d.page_id
LEFT JOIN permission pm ON pm.page_id = d.page_id AND pm.purpose = 'train'
"""
_CANDIDATE_ITEMS = f"{_ITEMS} WHERE m.generation = ? AND m.arm = ? ORDER BY m.kind, m.item_id"
# A model that was trained from another model has learned what that one had learned.
_HEIRS = """
WITH RECURSIVE heir AS (
    SELECT c.generation, c.arm, c.digest, c.generation || ' ' || c.arm AS source
    FROM checkpoint c WHERE list_contains(?, c.generation || ' ' || c.arm)
    UNION
    SELECT c.generation, c.arm, c.digest, h.source
    FROM checkpoint c JOIN heir h ON c.parent = h.digest AND c.generation > h.generation
)
SELECT generation, arm, list(DISTINCT source ORDER BY source) AS sources,
       any_value(heir.digest) AS digest, any_value(d.outcome) AS outcome
FROM heir LEFT JOIN decision d USING (generation, arm)
GROUP BY generation, arm ORDER BY generation, arm
"""
_FORGOTTEN = """
SELECT f.generation, f.arm, f.kind, f.item_id, f.document_id, f.url
FROM forgotten f
LEFT JOIN document d USING (document_id)
LEFT JOIN page p USING (page_id)
WHERE f.item_id <> '' AND (f.url = ? OR p.domain = ?)
"""


def candidate_items(reader: Reader, generation: int, arm: str) -> list[QueryRow]:
    """Everything a candidate was trained on, with document, page and permission.

    Forgotten items have no text.
    """
    return reader.rows(_CANDIDATE_ITEMS, [generation, arm])


def candidate_items_table(reader: Reader, generation: int, arm: str) -> pa.Table:
    """The same as `candidate_items`, as an Arrow table."""
    return reader.table(_CANDIDATE_ITEMS, [generation, arm])


def site_items(reader: Reader, url_or_domain: str) -> list[QueryRow]:
    """Everything that was made of a URL or of a domain and trained on."""
    query = f"{_ITEMS} WHERE d.url = ? OR pg.domain = ? ORDER BY m.generation, m.arm, m.kind"
    return reader.rows(query, [url_or_domain, url_or_domain])


def record_items(reader: Reader, record_id: str) -> list[QueryRow]:
    """Every use of a sample, preference, document or page, by its id."""
    return reader.rows(
        f"{_ITEMS} WHERE m.item_id = ? OR s.sample_id = ? OR d.document_id = ? OR d.page_id = ?"
        " ORDER BY m.generation, m.arm, m.kind, m.item_id",
        [record_id] * 4,
    )


def forgotten_items(reader: Reader, url_or_domain: str) -> list[QueryRow]:
    """Items of a URL or domain that were trained on and have been forgotten since."""
    return reader.rows(_FORGOTTEN, [url_or_domain, url_or_domain])


def heirs(reader: Reader, candidates: list[str]) -> list[QueryRow]:
    """These candidates, and all that were trained from them.

    A candidate is given as its generation, a space and its arm. Columns: generation, arm, digest,
    outcome, and `sources`, those of the given candidates from which it descends.
    """
    return reader.rows(_HEIRS, [candidates])


def judgments(reader: Reader, generation: int) -> list[QueryRow]:
    """Judgments of a generation by rubric, labeler and status."""
    return reader.rows(
        "SELECT j.rubric, j.labeler, j.status, count(*) AS count, avg(j.value) AS mean"
        " FROM judgment j WHERE j.generation = ? GROUP BY ALL ORDER BY ALL",
        [generation],
    )


def was_visited(reader: Reader, url_or_domain: str) -> bool:
    """Whether a URL, a domain or a host was ever visited."""
    query = "SELECT count(*) AS n FROM page WHERE url = ? OR domain = ? OR host = ?"
    return bool(reader.rows(query, [url_or_domain] * 3)[0]["n"])


def generation_digests(reader: Reader) -> list[QueryRow]:
    """(generation, arm, digest); the digest is empty for a candidate without a model."""
    return reader.rows(
        "SELECT generation, arm, coalesce(c.digest, '') AS digest"
        " FROM checkpoint c FULL JOIN decision d USING (generation, arm)"
    )
