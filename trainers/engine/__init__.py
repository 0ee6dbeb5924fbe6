"""The DeepSpeed engine with memory check, guards, metrics and resume points."""
