"""Tests that open a store (chDB) in their own process."""
