"""What there is to see of a crawl: (title, columns, query) of each table."""

from __future__ import annotations

STATS = (
    (
        "Pages",
        ["generation", "pages", "unchanged", "errors", "MB", "documents", "kept", "kept share"],
        "SELECT p.generation, count(*) FILTER (p.status = 200) AS pages, count(*) FILTER (p.status = 304) AS unchanged,"
        ' count(*) FILTER (p.status >= 400) AS errors, sum(p.num_bytes) / 1e6 AS "MB",'
        " count(d.document_id) AS documents,"
        " count(*) FILTER (d.status = 'kept') AS kept, count(*) FILTER (d.status = 'kept') /"
        ' greatest(count(*) FILTER (p.status = 200), 1) AS "kept share"'
        " FROM page p LEFT JOIN document d USING (page_id) WHERE p.kind = 'page' GROUP BY p.generation"
        " ORDER BY p.generation",
    ),
    (
        "Dropped",
        ["generation", "reason", "count"],
        "SELECT generation, reason, count(*) AS count FROM dropped WHERE stage = 'crawl' GROUP BY ALL"
        " ORDER BY generation, count DESC, reason",
    ),
    (
        "What sites say",
        ["purpose", "verdict", "reason", "pages"],
        "SELECT purpose, verdict, reason, count(*) AS pages FROM permission GROUP BY ALL ORDER BY pages DESC LIMIT 20",
    ),
    (
        "Languages",
        ["generation", "language", "documents", "characters"],
        "SELECT generation, CASE language WHEN '' THEN 'unsure' ELSE language END AS language, count(*) AS documents,"
        " sum(length(text)) AS characters FROM document WHERE status = 'kept' GROUP BY ALL"
        " ORDER BY generation, documents DESC",
    ),
    (
        "Hosts",
        ["generation", "host", "pages", "kept"],
        "WITH part AS (SELECT p.generation, p.host, count(*) AS pages,"
        " count(*) FILTER (d.status = 'kept') AS kept FROM page p"
        " LEFT JOIN document d USING (page_id) WHERE p.kind = 'page' GROUP BY ALL)"
        " SELECT * FROM part QUALIFY row_number() OVER (PARTITION BY generation ORDER BY pages DESC, host) <= 15"
        " ORDER BY generation, pages DESC, host",
    ),
    (
        "Diversity of what is kept",
        ["generation", "hosts", "effective hosts", "languages", "clusters"],
        "WITH kept AS (SELECT d.generation, p.host, d.language, d.cluster_id FROM document d"
        " JOIN page p USING (page_id)"
        " WHERE d.status = 'kept'), share AS (SELECT generation,"
        " count(*) / sum(count(*)) OVER (PARTITION BY generation)"
        " AS s FROM kept GROUP BY generation, host) SELECT generation, count(DISTINCT host) AS hosts,"
        ' (SELECT exp(-sum(s * ln(s))) FROM share WHERE share.generation = kept.generation) AS "effective hosts",'
        " count(DISTINCT language) AS languages, count(DISTINCT cluster_id) AS clusters FROM kept"
        " GROUP BY generation ORDER BY generation",
    ),
)
