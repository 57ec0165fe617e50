"""Assembles the collector, and serves it over HTTP and gRPC."""
