"""Parsing a page: from its bytes to text, links and metadata, in a separate process."""
