"""Fixtures: a collector that requires keys, and its admin key."""

from tests.support.end_to_end.fixtures import admin, closed, data_dir

__all__ = ["admin", "closed", "data_dir"]
