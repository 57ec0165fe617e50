"""Benchmarks: each prints its number, as a ratio in the same run where that is possible."""
