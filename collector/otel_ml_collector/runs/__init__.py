"""Reads runs: one, lists, traces, what they logged, and sums of the calls inside them."""
