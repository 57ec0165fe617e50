"""Both roads to a store: embedded, and over the network to a front before chDB."""

from tests.support.contract.fixtures import collector, own_collector, road, server, store

__all__ = ["collector", "own_collector", "road", "server", "store"]
