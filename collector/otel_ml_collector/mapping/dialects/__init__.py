"""The dialects: for each, the attributes of a span that fill the fields of a run."""
