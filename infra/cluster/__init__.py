"""The Ray connection: find or start a cluster, start actors, call them like plain classes."""
