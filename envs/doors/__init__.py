"""The ways out: PettingZoo, Gymnasium, vectors of games, text."""
