"""Model code: log-probabilities, packed attention, adapters and kernels."""
