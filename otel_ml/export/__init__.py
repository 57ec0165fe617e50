"""Sends spans to the collector."""
