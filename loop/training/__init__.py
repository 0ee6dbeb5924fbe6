"""What is trained in a generation: its data, its chain of tasks, and who rewards completions."""
