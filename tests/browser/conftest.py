"""Chromium, and a collector with the demo's data."""

from tests.support.browser.fixtures import chromium, demo, shots, tab

__all__ = ["chromium", "demo", "shots", "tab"]
