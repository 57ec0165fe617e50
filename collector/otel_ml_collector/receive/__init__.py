"""Receives OTLP requests over HTTP and gRPC; both transports share one pipeline."""
