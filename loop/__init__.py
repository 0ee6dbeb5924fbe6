"""The loop itself: stages, gate, registry, recipes, command line and report."""
