"""Tests of the SDK in services with common frameworks and servers, with a real collector."""
