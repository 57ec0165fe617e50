"""Tests that start no process, no socket and no store engine."""
