"""Example programs. Tests run each of them on real data."""
