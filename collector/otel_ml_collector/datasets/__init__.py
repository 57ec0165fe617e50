"""Data sets: their versions, the items of each, the changes between two, and new versions."""
