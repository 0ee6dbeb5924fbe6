"""Losses, batches and the DeepSpeed engine: from samples and preferences to a checkpoint."""
