"""Runs tests of a collector with an embedded store again with a server.

The tests are imported from `tests.process.end_to_end`, with the fixtures of this folder.
"""

import pytest

from tests.process.end_to_end.test_artifacts import test_known, test_same_at_once, test_up_and_down
from tests.process.end_to_end.test_data_and_models import (
    test_data_is_read_back,
    test_versions_of_a_model,
)
from tests.process.end_to_end.test_durability import (
    test_answer_means_queryable,
    test_same_request_twice_is_one_set_of_records,
)
from tests.process.end_to_end.test_log_records import test_page
from tests.process.end_to_end.test_open_runs_grow import (
    test_line_is_seen_soon,
    test_open_run_shows_tags_and_metrics,
)
from tests.support.clickhouse import Server
from tests.support.contract.fixtures import Road, make_road
from tests.support.sampling import sampled

pytestmark = sampled(without="embedded*")

__all__ = [
    "test_answer_means_queryable",
    "test_data_is_read_back",
    "test_known",
    "test_line_is_seen_soon",
    "test_open_run_shows_tags_and_metrics",
    "test_page",
    "test_same_at_once",
    "test_same_request_twice_is_one_set_of_records",
    "test_up_and_down",
    "test_versions_of_a_model",
]


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Road:
    """Only the network: the tests run with an embedded store in their own folder."""
    return make_road("network", tmp_path_factory.mktemp("road"), server)
