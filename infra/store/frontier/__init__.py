"""The crawl frontier: a queue of URLs with leases, in SQLite."""
