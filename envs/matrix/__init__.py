"""Matrix games, played once or many times."""
