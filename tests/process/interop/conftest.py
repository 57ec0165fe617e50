"""Fixtures: the SDK versions, and servers that receive spans."""

from tests.support.interop.fixtures import ours

__all__ = ["ours"]
