"""Records, store, configuration, model folders and the Ray connection. Knows no other package."""
