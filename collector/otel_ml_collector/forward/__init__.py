"""The collector's forwarding of stored data: records, and OTLP as it came."""
