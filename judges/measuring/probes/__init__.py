"""Pairs of a better and a worse text by construction, made anew for every run."""
