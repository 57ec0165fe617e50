"""Calls of generative models, recorded by the OpenTelemetry GenAI conventions."""
