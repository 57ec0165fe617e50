"""Fixtures: the SDK versions, and servers that spans are sent to."""

from tests.support.interop.fixtures import ours, sdk, theirs

__all__ = ["ours", "sdk", "theirs"]
