"""Records calls of generative models with the attributes of the OpenTelemetry GenAI conventions."""
