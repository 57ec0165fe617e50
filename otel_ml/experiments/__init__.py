"""Data sets and experiments: run a function over items and conclude whether it got better."""
