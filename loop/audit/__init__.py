"""Checking a run afterwards: verify, lineage, reproduce, replay, export."""
