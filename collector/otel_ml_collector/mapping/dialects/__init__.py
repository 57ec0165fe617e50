"""The dialects: for each, what of a span fills which field of a run."""
