"""What the collector sends on, once it is stored: records, and OTLP as it came."""
