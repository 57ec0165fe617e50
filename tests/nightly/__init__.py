"""Tests that only the nightly run executes: `make test-nightly`."""
