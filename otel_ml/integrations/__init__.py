"""Integrations: imports from other frameworks, and instrumentation without code changes."""
