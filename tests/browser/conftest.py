"""A Chromium, and a collector that shows what the demo recorded."""

from tests.support.browser.fixtures import chromium, demo, shots, tab

__all__ = ["chromium", "demo", "shots", "tab"]
