"""Forwards stored data to other services: records, and OTLP requests unchanged."""
