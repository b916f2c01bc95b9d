"""Games whose moves are programs or tool calls."""
