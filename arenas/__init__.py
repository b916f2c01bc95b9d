"""Who meets whom, and what the results say."""
