"""From fetched bodies to stored pages and documents: WARC files, rows, deduplication, pools."""
