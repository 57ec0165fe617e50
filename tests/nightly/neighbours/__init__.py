"""Tests with the real Jaeger, stock OpenTelemetry Collector, Prometheus and telemetrygen."""
