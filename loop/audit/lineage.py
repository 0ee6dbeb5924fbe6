"""Lineage: what a generation was made from, and who learned from a page or a site."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from infra.artifacts import atomic_write, make_folder
from infra.errors import UserError
from infra.store.queries import lineage as queries
from infra.store.reader import QueryRow, Reader

MIN_DIGEST_CHARS = 6


def summarize_sites(items: list[QueryRow]) -> list[QueryRow]:
    """Items, documents, fetch times and permissions by domain; the largest domain first."""
    by_domain: dict[str, list[QueryRow]] = {}
    for item in items:
        domain = item["domain"] or item["url"] or "a file or a model"
        by_domain.setdefault(domain, []).append(item)
    sites = [_site(domain, members) for domain, members in by_domain.items()]
    return sorted(sites, key=lambda site: (-site["items"], site["domain"]))


def _site(domain: str, items: list[QueryRow]) -> QueryRow:
    times = sorted(item["fetched_at"] for item in items if item["fetched_at"] is not None)
    permissions = {
        " ".join(filter(None, (item["permission"], item["permission_reason"]))) for item in items
    }
    return {
        "domain": domain,
        "items": len(items),
        "documents": len({item["document_id"] for item in items}),
        "first": times[0] if times else None,
        "last": times[-1] if times else None,
        "permission": sorted(permissions - {""}),
    }


def descendants(reader: Reader, url_or_domain: str) -> tuple[list[QueryRow], list[QueryRow]]:
    """(items made of a URL or a domain, candidates that learned from them).

    A candidate learned from them by its own data, or because it was trained from a model that did.
    Its row has `generation`, `arm`, `items` (of its own), `through` (earlier candidates from which
    it has the rest, as generation and arm), `outcome` and `digest`. Forgotten items are known by
    their URL and included.
    """
    items = queries.site_items(reader, url_or_domain)
    known = {(_candidate(item), item["item_id"]) for item in items}
    forgotten = queries.forgotten_items(reader, url_or_domain)
    items += [f for f in forgotten if (_candidate(f), f["item_id"]) not in known]
    counts = Counter(_candidate(item) for item in items)
    heirs = [
        {
            "generation": row["generation"],
            "arm": row["arm"],
            "items": counts[_candidate(row)],
            "through": [source for source in row["sources"] if source != _candidate(row)],
            "digest": row["digest"],
            "outcome": row["outcome"],
        }
        for row in queries.heirs(reader, sorted(counts))
    ]
    return items, heirs


def _candidate(row: QueryRow) -> str:
    return f"{row['generation']} {row['arm']}"


def find_generation(reader: Reader, name: str) -> tuple[int, str | None] | None:
    """(generation, arm) of the generation with this number, or of the model with such a digest.

    A digest may be cut off. The arm is None for a number, and None is returned if nothing fits.
    """
    rows = queries.generation_digests(reader)
    if name.isdecimal() and any(row["generation"] == int(name) for row in rows):
        return int(name), None
    if len(name) < MIN_DIGEST_CHARS:
        return None
    matching = [(row["generation"], row["arm"]) for row in rows if row["digest"].startswith(name)]
    return (int(matching[0][0]), str(matching[0][1])) if len(matching) == 1 else None


def export_manifest(reader: Reader, candidate: QueryRow, folder: Path) -> Path:
    """Write what a candidate was trained on as a Parquet file, named by its manifest digest.

    Raises:
        UserError: if it was not trained, or the folder cannot be made.
    """
    generation, digest = candidate["generation"], candidate["manifest_digest"]
    if generation == 0 or not digest:
        problem = "it was not trained in this run."
        raise UserError("--export", generation, problem, "Choose a generation from 1 on.")
    path = folder / f"{digest}.parquet"
    scratch = Path(f"{path}.scratch")
    make_folder(folder, "--export")
    table = queries.candidate_items_table(reader, generation, candidate["arm"])
    pq.write_table(table, scratch)
    atomic_write(path, scratch.read_bytes())
    scratch.unlink()
    return path
