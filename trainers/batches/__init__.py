"""Token rows, and the packs that hold several rows."""
