"""Jaeger's query API over the spans that are here."""
