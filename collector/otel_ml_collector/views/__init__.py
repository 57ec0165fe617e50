"""Saved views: a page with its parameters, under a name."""
