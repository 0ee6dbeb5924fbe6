"""What we do to a model: log-probabilities, packed attention, adapters, kernels."""
