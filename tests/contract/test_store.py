"""What is proven of the store where it is embedded, proven again over a server.

The tests are those of `tests.otel_ml_collector.store`, whose store is made anew here.
"""

from tests.otel_ml_collector.store.test_artifacts import (
    test_deleted_while_it_is_read,
    test_half_written,
    test_sweep,
    test_written_and_read,
)
from tests.otel_ml_collector.store.test_points import test_order_of_points
from tests.otel_ml_collector.store.test_versions import test_many_structures

__all__ = [
    "test_deleted_while_it_is_read",
    "test_half_written",
    "test_many_structures",
    "test_order_of_points",
    "test_sweep",
    "test_written_and_read",
]
