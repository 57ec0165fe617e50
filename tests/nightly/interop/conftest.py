"""Fixtures: the SDK versions, and servers that spans are sent to."""

from tests.support.interop.fixtures import ours, theirs

__all__ = ["ours", "theirs"]
