"""Benchmarks. Each prints its figures, as ratios within one run where that is possible."""
