"""``otel-ml doctor``: looks at everything between this program and a collector's answer."""
