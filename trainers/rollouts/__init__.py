"""Rollouts for policy gradients: samplers, rewards and advantages."""
