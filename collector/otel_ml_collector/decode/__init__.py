"""OTLP bytes to spans and log records: the only package that knows the wire."""
