"""Tests of what reads records back, beside a real collector."""
