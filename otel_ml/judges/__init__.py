"""Judges: what scores a run, and what runs them."""
