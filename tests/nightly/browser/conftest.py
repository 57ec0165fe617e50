"""Fixtures for browser tests: Chromium, and a collector with the data of the demo."""

from tests.support.browser.fixtures import chromium, demo, shots, stops, tab

__all__ = ["chromium", "demo", "shots", "stops", "tab"]
