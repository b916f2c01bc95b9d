"""Pages that show standings, curves and replays."""
