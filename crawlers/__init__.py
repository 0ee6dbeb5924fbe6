"""Frontier, spider, safety and extraction: from a URL to documents in the store."""
