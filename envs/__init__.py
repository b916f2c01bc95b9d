"""Every game: rules, and nothing else."""
