"""Measures taken while training: exact ones of small games, and played ones."""
