"""Data sets: their versions, what is in each, what changed between two, and new ones."""
