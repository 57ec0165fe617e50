"""A collector that needs keys, and the key of its admin."""

from tests.support.end_to_end.fixtures import admin, closed, data_dir

__all__ = ["admin", "closed", "data_dir"]
