"""Decodes OTLP bytes into spans and log records. No other package knows the wire format."""
