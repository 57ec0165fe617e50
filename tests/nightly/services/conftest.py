"""Chromium, in which notebooks are opened."""

from tests.support.browser.fixtures import chromium

__all__ = ["chromium"]
