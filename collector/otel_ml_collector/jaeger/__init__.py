"""Jaeger's query API, in both of its versions, over the spans that are here."""
