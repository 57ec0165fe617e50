"""Logged artifacts and their documents."""
