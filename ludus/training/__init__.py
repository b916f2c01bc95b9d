"""Learning from play: credit, objectives, learners and runs."""
