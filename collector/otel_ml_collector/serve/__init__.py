"""Puts the collector together, and serves it over HTTP and gRPC."""
