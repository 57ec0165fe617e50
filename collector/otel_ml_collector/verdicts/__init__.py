"""Verdicts: which of two sides is better, by which figures, and in which words."""
