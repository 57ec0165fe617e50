"""Statistics of recorded runs over time."""
