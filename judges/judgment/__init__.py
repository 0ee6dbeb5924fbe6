"""What a labeler is asked and how its answers become stored judgments."""
