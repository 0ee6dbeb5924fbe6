"""From the bytes of a page to its text, links and metadata, in a process of its own."""
