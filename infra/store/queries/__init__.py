"""Named queries for readers of a run, one file for each topic. Each takes a `Reader`."""
