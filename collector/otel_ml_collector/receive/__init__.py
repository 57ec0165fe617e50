"""How requests come in: OTLP over HTTP and gRPC, each a thin edge of the pipeline."""
