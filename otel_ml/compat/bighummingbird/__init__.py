"""BigHummingbird's import path: ``from otel_ml.compat.bighummingbird import BigHummingbird``."""

from otel_ml.compat.bighummingbird.client import BigHummingbird

__all__ = ["BigHummingbird"]
