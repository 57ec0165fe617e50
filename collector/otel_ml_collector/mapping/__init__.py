"""Maps spans and log records to stored records.

Mapping has no side effects. The result is the same if spans arrive in another order, in different
requests or twice.
"""

from otel_ml_collector.mapping.prices import Prices

__all__ = ["Prices"]
