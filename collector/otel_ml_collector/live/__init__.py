"""Runs as they are recorded, told to those who listen."""
