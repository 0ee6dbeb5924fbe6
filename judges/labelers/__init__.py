"""Labelers: a local model, a server or a scripted one, and wrappers that cache, limit and check
them.
"""
