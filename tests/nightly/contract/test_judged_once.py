"""Two collectors on one server judge 10,000 runs, each run once."""

from pathlib import Path
from typing import Final

import pytest

from tests.support.clickhouse import clickhouse
from tests.support.collector import running
from tests.support.language_model import language_model
from tests.support.load import PROTOBUF, make_request
from tests.support.otel_ml_collector.judge_workers import connected, count_fitting, save_fitting
from tests.support.waiting import wait_until

pytestmark = pytest.mark.measures

MANY_RUNS: Final = 10_000
_A_REQUEST: Final = 500
_WAIT_S: Final = 1_200
JUDGES: Final = '{"quiet_s": 0, "threads": 8}'


def test_many_runs_are_judged_once(tmp_path: Path) -> None:
    """Two collectors call the judge once for each of 10,000 runs, even while runs still arrive."""
    with language_model() as model, clickhouse(tmp_path / "server") as server:
        url = server.url(server.make_database())
        settings = ["--store", url, *connected(model, JUDGES)]
        with running(tmp_path / "a", *settings) as one, running(tmp_path / "b", *settings) as other:
            save_fitting(one, "many")
            for place in range(MANY_RUNS // _A_REQUEST):
                collector = (one, other)[place % 2]
                body = make_request("many", _A_REQUEST).SerializeToString()
                collector.deliver(body, PROTOBUF)
            wait_until(
                lambda: count_fitting(one, "many") == MANY_RUNS,
                _WAIT_S,
                about=lambda: f"{len(model.requests)} {(one.output + other.output)[-2_000:]}",
            )
            assert len(model.requests) == MANY_RUNS
            asked = model.count_prompts()  # requests differ only in their IDs
            assert {*asked.values()} == {MANY_RUNS // _A_REQUEST}
