"""Statistics behind verdicts, drift and alerts. They need only Python's standard library."""
