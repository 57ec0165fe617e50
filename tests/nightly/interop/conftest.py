"""Fixtures: the SDK versions, and servers that receive spans."""

from tests.support.interop.fixtures import ours, sdk, theirs

__all__ = ["ours", "sdk", "theirs"]
