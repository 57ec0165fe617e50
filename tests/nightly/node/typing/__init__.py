"""Samples of the typed API, read by type checkers and never run."""
