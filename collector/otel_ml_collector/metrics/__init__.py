"""Metric series of runs and versions."""
