"""What can be executed or checked is not judged."""
