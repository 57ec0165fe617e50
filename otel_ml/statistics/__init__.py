"""Statistics that verdicts rest on, of the standard library alone."""
