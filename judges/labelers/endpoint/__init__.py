"""A labeler behind an OpenAI-compatible server."""
