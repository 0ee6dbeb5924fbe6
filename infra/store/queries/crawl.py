"""A crawl: its pages, drops, permissions, languages, hosts and requests."""

from __future__ import annotations

from infra.records import Request
from infra.store.reader import QueryRow, Reader

_PAGES = """
SELECT p.generation, count(*) FILTER (p.status = 200) AS pages,
       count(*) FILTER (p.status = 304) AS unchanged, count(*) FILTER (p.status >= 400) AS errors,
       sum(p.num_bytes) / 1e6 AS "MB", count(d.document_id) AS documents,
       count(*) FILTER (d.status = 'kept') AS kept,
       count(*) FILTER (d.status = 'kept') / greatest(count(*) FILTER (p.status = 200), 1)
           AS "kept share"
FROM page p LEFT JOIN document d USING (page_id)
WHERE p.kind = 'page' GROUP BY p.generation ORDER BY p.generation
"""
_LANGUAGES = """
SELECT generation, CASE language WHEN '' THEN 'unsure' ELSE language END AS language,
       count(*) AS documents, sum(length(text)) AS characters
FROM document WHERE status = 'kept'
GROUP BY ALL ORDER BY generation, documents DESC
"""
_HOSTS = """
WITH part AS (
    SELECT p.generation, p.host, count(*) AS pages, count(*) FILTER (d.status = 'kept') AS kept
    FROM page p LEFT JOIN document d USING (page_id) WHERE p.kind = 'page' GROUP BY ALL
)
SELECT * FROM part
QUALIFY row_number() OVER (PARTITION BY generation ORDER BY pages DESC, host) <= 15
ORDER BY generation, pages DESC, host
"""
_DIVERSITY = """
WITH kept AS (
    SELECT d.generation, p.host, d.language, d.cluster_id
    FROM document d JOIN page p USING (page_id) WHERE d.status = 'kept'
), share AS (
    SELECT generation, count(*) / sum(count(*)) OVER (PARTITION BY generation) AS s
    FROM kept GROUP BY generation, host
)
SELECT generation, count(DISTINCT host) AS hosts,
       (SELECT exp(-sum(s * ln(s))) FROM share WHERE share.generation = kept.generation)
           AS "effective hosts",
       count(DISTINCT language) AS languages, count(DISTINCT cluster_id) AS clusters
FROM kept GROUP BY generation ORDER BY generation
"""
_OUTCOMES = """
SELECT generation, 'kept' AS outcome, count(*) AS pages
FROM document WHERE status = 'kept' GROUP BY generation
UNION ALL
SELECT generation, reason, count(*) FROM dropped WHERE stage = 'crawl' GROUP BY generation, reason
ORDER BY outcome <> 'kept', pages DESC, outcome
"""


def statistics(reader: Reader) -> dict[str, list[QueryRow]]:
    """Tables about the crawl by their titles; each has its columns in the order of the rows."""
    return {
        "Pages": reader.rows(_PAGES),
        "Dropped": reader.rows(
            "SELECT generation, reason, count(*) AS count FROM dropped WHERE stage = 'crawl'"
            " GROUP BY ALL ORDER BY generation, count DESC, reason"
        ),
        "Statements of the sites": reader.rows(
            "SELECT purpose, verdict, reason, count(*) AS pages FROM permission"
            " GROUP BY ALL ORDER BY pages DESC LIMIT 20"
        ),
        "Languages": reader.rows(_LANGUAGES),
        "Hosts": reader.rows(_HOSTS),
        "Diversity of the kept documents": reader.rows(_DIVERSITY),
    }


def outcomes(reader: Reader) -> list[QueryRow]:
    """(generation, outcome, pages): kept documents, and drops by reason, most frequent first."""
    return reader.rows(_OUTCOMES)


def requests(reader: Reader) -> list[Request]:
    """The fetch log."""
    return reader.records(Request, "SELECT * FROM request")
