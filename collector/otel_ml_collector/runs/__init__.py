"""Runs: their list, and each with everything that is known of it."""
