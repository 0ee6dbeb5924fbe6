"""Training: rows and packs, losses and advantages, the DeepSpeed engine, and the training steps."""
