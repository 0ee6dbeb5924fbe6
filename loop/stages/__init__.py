"""The four verbs of the loop: crawl, label, train, decide."""
