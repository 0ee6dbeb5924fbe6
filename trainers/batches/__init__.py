"""Token rows, and packs of several rows."""
