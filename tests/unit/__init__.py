"""Tests that start nothing: no process, no socket, no engine of the store."""
