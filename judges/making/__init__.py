"""The steps that make samples, judgments and preferences from documents."""
