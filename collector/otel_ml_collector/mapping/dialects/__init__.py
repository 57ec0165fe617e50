"""Dialects: which span attributes of each instrumentation fill which fields of a run."""
