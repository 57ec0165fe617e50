"""Runs, versions of models, or experiments, side by side."""
