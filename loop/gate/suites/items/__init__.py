"""Where the items of suites come from: files, and the tasks of two packages."""
