"""The recipe: one TOML file that says what a run does."""
