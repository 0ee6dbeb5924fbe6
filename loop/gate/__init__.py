"""The gate: suites, evidence, levels, and the trial that decides on a candidate."""
