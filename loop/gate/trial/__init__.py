"""One attempt to promote a candidate: vetoes, tests on every suite, the sealed exam."""
