"""One small class for each group of tables, all over one DuckDB connection."""
