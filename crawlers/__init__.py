"""The crawler: from URLs to documents in the store."""
