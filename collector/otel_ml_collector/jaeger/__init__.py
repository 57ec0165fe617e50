"""Jaeger's query API, versions 1 and 3, over the stored spans."""
