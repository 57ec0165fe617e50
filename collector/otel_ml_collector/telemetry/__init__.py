"""What Prometheus reads at ``/metrics``: the collector's own numbers and those of its users."""
