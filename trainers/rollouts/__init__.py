"""Completions for policy gradients: samplers, rewards, and the batches made of them."""
