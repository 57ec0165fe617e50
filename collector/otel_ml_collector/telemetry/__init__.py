"""Prometheus metrics at ``/metrics``: the collector's own numbers and those of its users."""
