"""Estimators of advantages, and shapers of rewards, by name."""
