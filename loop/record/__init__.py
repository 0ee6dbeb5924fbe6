"""A run on disk: its folder, and the folders of its models."""
