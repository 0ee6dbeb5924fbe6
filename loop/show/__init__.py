"""What a run looks like: queries, tables, plots, the report."""
