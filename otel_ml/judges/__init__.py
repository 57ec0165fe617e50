"""Judges: rubrics that score runs, and the threads that run them."""
