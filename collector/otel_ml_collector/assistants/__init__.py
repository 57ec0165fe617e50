"""Assistants: what a coding agent or a shell asks the collector, and answers of bounded size."""
