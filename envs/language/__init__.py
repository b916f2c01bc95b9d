"""Games whose moves are text."""
