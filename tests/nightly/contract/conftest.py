"""Fixtures for both kinds of store: embedded, and over the network to a proxy in front of chDB."""

from tests.support.contract.fixtures import collector, own_collector, project, road, server, store

__all__ = ["collector", "own_collector", "project", "road", "server", "store"]
