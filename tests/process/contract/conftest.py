"""Fixtures for both ways to a store: embedded, and over the network (a simulated server)."""

from tests.support.contract.fixtures import collector, own_collector, road, server, store

__all__ = ["collector", "own_collector", "road", "server", "store"]
