"""Assistants: tools for coding agents and shells, with answers of bounded size."""
