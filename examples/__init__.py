"""Examples: each is run by a test on real data."""
