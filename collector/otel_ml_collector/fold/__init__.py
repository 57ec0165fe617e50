"""Computes the rows of runs from the facts of their traces."""
