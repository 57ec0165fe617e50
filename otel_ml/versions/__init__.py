"""Finds the version of a model: from code, values, weights and the structure of outputs."""
