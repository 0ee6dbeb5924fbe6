"""From a generation down to the pages behind it, and from a page or a site up to every generation
that learned it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from infra.artifacts import atomic_write
from infra.errors import UserError
from infra.store.reading import rows

Row = dict[str, Any]
Connection = duckdb.DuckDBPyConnection

# What each item of a manifest was made from. A preference's document is that of the prompt it
# answers.
_ITEMS = """
SELECT m.generation, m.kind, m.item_id, s.origin, s.prompt,
       CASE WHEN p.preference_id IS NULL THEN s.completion END AS completion, p.chosen, p.rejected, p.labeler,
       d.document_id, d.url, pg.page_id, pg.domain, pg.fetched_at, pg.digest AS page_digest, pg.warc_file,
       pg.warc_offset, coalesce(pm.verdict, pg.train) AS permission, coalesce(pm.reason, '') AS permission_reason,
       coalesce(pm.evidence, '') AS permission_evidence
FROM manifest m
LEFT JOIN preference p ON m.kind = 'preference' AND p.preference_id = m.item_id
LEFT JOIN sample s ON s.sample_id = coalesce(p.sample_id, m.item_id)
LEFT JOIN document d ON d.document_id = s.document_id
LEFT JOIN page pg ON pg.page_id = d.page_id
LEFT JOIN permission pm ON pm.page_id = d.page_id AND pm.purpose = 'train'
"""

# Whoever was trained from a model that learned something has learned it too.
_HEIRS = """
WITH RECURSIVE heir AS (
    SELECT c.generation, c.digest, c.generation AS source FROM checkpoint c WHERE list_contains(?, c.generation)
    UNION
    SELECT c.generation, c.digest, h.source FROM checkpoint c JOIN heir h ON c.parent = h.digest
        AND c.generation > h.generation
)
SELECT generation, list(DISTINCT source ORDER BY source) AS sources FROM heir GROUP BY generation ORDER BY generation
"""


def items_of(connection: Connection, generation: int) -> list[Row]:
    """Everything a generation was trained on, with document, page and permission; forgotten items
    have no text.
    """
    return rows(
        connection, f"{_ITEMS} WHERE m.generation = ? ORDER BY m.kind, m.item_id", [generation]
    )


def judgments_of(connection: Connection, generation: int) -> list[Row]:
    """Judgments behind a generation's items by rubric and labeler."""
    return rows(
        connection,
        "SELECT j.rubric, j.labeler, j.status, count(*) AS count, avg(j.value) AS mean FROM judgment j"
        " WHERE j.generation = ? GROUP BY ALL ORDER BY ALL",
        [generation],
    )


def sites_of(items: list[Row]) -> list[Row]:
    """Items, documents and the span of fetch times by domain, the largest first."""
    sites: dict[str, list[Row]] = {}
    for item in items:
        sites.setdefault(item["domain"] or item["url"] or "a file or a model", []).append(item)
    found = []
    for domain, of_site in sites.items():
        times = sorted(i["fetched_at"] for i in of_site if i["fetched_at"] is not None)
        verdicts = sorted(
            {" ".join(filter(None, (i["permission"], i["permission_reason"]))) for i in of_site}
            - {""}
        )
        found.append(
            {
                "domain": domain,
                "items": len(of_site),
                "documents": len({i["document_id"] for i in of_site}),
                "first": times[0] if times else None,
                "last": times[-1] if times else None,
                "permission": verdicts,
            }
        )
    return sorted(found, key=lambda site: (-site["items"], site["domain"]))


def descendants(connection: Connection, place: str) -> tuple[list[Row], list[Row]]:
    """(items made of a URL or a domain, generations that learned from them or from a model that
    did).

    A generation's row has `generation`, `items` (its own), `through` (earlier generations it has
    the rest from), `outcome` and `digest`. What was forgotten is known by its URL and is among the
    items.
    """
    items = rows(
        connection,
        f"{_ITEMS} WHERE d.url = ? OR pg.domain = ? ORDER BY m.generation, m.kind",
        [place, place],
    )
    forgotten = rows(
        connection,
        "SELECT f.generation, f.kind, f.item_id, f.document_id, f.url FROM forgotten f"
        " LEFT JOIN document d USING (document_id) LEFT JOIN page p USING (page_id)"
        " WHERE f.item_id <> '' AND (f.url = ? OR p.domain = ?)",
        [place, place],
    )
    known = {(item["generation"], item["item_id"]) for item in items}
    items += [f for f in forgotten if (f["generation"], f["item_id"]) not in known]
    own: dict[int, int] = {}
    for item in items:
        own[item["generation"]] = own.get(item["generation"], 0) + 1
    found = []
    for heir in rows(connection, _HEIRS, [sorted(own)]):
        about = rows(
            connection,
            "SELECT c.digest, d.outcome FROM checkpoint c LEFT JOIN decision d ON d.generation = c.generation"
            " WHERE c.generation = ?",
            [heir["generation"]],
        )[0]
        through = [source for source in heir["sources"] if source != heir["generation"]]
        found.append(
            {
                "generation": heir["generation"],
                "items": own.get(heir["generation"], 0),
                "through": through,
            }
            | about
        )
    return items, found


def known_place(connection: Connection, place: str) -> bool:
    """Whether a URL or a domain was ever visited."""
    query = "SELECT count(*) AS n FROM page WHERE url = ? OR domain = ? OR host = ?"
    return bool(rows(connection, query, [place, place, place])[0]["n"])


def generation_of(connection: Connection, name: str) -> int | None:
    """The generation that a number, or the beginning of a digest, means; None where it means none."""
    found = rows(
        connection,
        "SELECT generation, coalesce(c.digest, '') AS digest FROM checkpoint c FULL JOIN decision d USING (generation)",
    )
    if name.isdecimal() and any(row["generation"] == int(name) for row in found):
        return int(name)
    fitting = [
        row["generation"] for row in found if len(name) >= 6 and row["digest"].startswith(name)
    ]
    return int(fitting[0]) if len(fitting) == 1 else None


def item_of(connection: Connection, name: str) -> list[Row]:
    """Where a sample, preference, document or page was used, by its id."""
    return rows(
        connection,
        f"{_ITEMS} WHERE m.item_id = ? OR s.sample_id = ? OR d.document_id = ? OR d.page_id = ?"
        " ORDER BY m.generation, m.kind, m.item_id",
        [name, name, name, name],
    )


def export_manifest(connection: Connection, generation: int, folder: Path) -> Path:
    """Write what a generation was trained on as one Parquet file named by the digest of its
    manifest.
    """
    found = rows(
        connection, "SELECT manifest_digest FROM checkpoint WHERE generation = ?", [generation]
    )
    if generation == 0 or not found:
        raise UserError(
            "--export",
            generation,
            "it was trained on nothing here.",
            "Choose a generation from 1 on.",
        )
    query = f"{_ITEMS} WHERE m.generation = ? ORDER BY m.kind, m.item_id"
    table = connection.sql(query, params=[generation]).to_arrow_table()
    path = folder / f"{found[0]['manifest_digest']}.parquet"
    scratch = Path(f"{path}.scratch")
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, scratch)
    atomic_write(path, scratch.read_bytes())
    scratch.unlink()
    return path
