"""Prometheus metrics at ``/metrics``: those of the collector and those of the recorded runs."""
