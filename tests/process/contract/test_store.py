"""Runs tests of the embedded store again with a server.

The tests are imported from `tests.store.otel_ml_collector.store`, with the store of this folder.
"""

from contextlib import closing

from otel_ml_collector.store.migrations import connect
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.writer import Writer
from tests.store.otel_ml_collector.store.test_artifacts import (
    test_deleted_while_it_is_read,
    test_half_written,
    test_sweep,
    test_written_and_read,
)
from tests.store.otel_ml_collector.store.test_points import test_order_of_points
from tests.store.otel_ml_collector.store.test_record_kinds import found, make_metric, test_found
from tests.store.otel_ml_collector.store.test_versions import (
    arrive,
    known,
    test_known_numbers,
    test_many_structures,
)
from tests.support.clickhouse import Server
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import sampled

pytestmark = sampled(2)

__all__ = [
    "test_deleted_while_it_is_read",
    "test_found",
    "test_half_written",
    "test_known_numbers",
    "test_many_structures",
    "test_order_of_points",
    "test_sweep",
    "test_written_and_read",
]


def test_stored_by_another(server: Server) -> None:
    """A collector sees at once what another one stored, even after it read the previous state."""
    url = server.url(server.make_database())
    with closing(connect(url)) as here, closing(connect(url)) as there:
        one, other = (
            Store(connections, Writer(connections), Reader(connections))
            for connections in (here, there)
        )
        for number, digest in enumerate("ab", 1):
            assert len(known(other, "p")) == number - 1
            arrive(one, "p", (digest, "s"))
            assert known(other, "p")[digest, "s"] == number
        assert found(other, "p") == set()
        one.writer.write(make_metric("p"))
        assert found(other, "p") == {"scores"}
