"""Data sets and experiments: run a function on items and find out whether it got better."""
