"""Determines the version of a model from its code, values, weights and output structure."""
