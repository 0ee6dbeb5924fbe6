"""What the tests of infra, and others, need: rows of a store and records of an archive."""
