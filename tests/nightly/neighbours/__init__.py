"""Beside Jaeger, the stock OpenTelemetry Collector and telemetrygen: the real programs."""
