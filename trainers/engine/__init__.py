"""The DeepSpeed engine, its memory, its guards, and the points it resumes from."""
