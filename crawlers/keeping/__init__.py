"""Storing pages: WARC files, rows, pools, and the choice of documents that are kept."""
