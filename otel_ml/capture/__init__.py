"""Captures the values of a run as JSON text of limited size."""
