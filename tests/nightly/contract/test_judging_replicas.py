"""Two collectors with one server share a judge without code and judge each run once."""

import json
from pathlib import Path
from typing import Final

from tests.support.clickhouse import clickhouse
from tests.support.collector import running
from tests.support.keys import ask
from tests.support.language_model import language_model
from tests.support.load import PROTOBUF, make_request
from tests.support.waiting import wait_until

RUNS: Final = 30


def test_each_run_is_judged_once(tmp_path: Path) -> None:
    """Two collectors that see the same runs call the model once for each run."""
    with language_model() as model, clickhouse(tmp_path / "server") as server:
        url = server.url(server.make_database())
        settings = [
            *("--store", url, "--judges", '{"quiet_s": 0}'),
            *("--judge-connections", json.dumps({"here": model.connection})),
        ]
        with running(tmp_path / "a", *settings) as one, running(tmp_path / "b", *settings) as other:
            judge = {
                "instruction": "Does the answer fit?",
                "model": "small",
                "connection": "here",
                "calls_per_minute": 10_000,
                "is_on": True,
            }
            saved = ask(
                one,
                "/api/v1/projects/shared/rubric-judges/fits",
                method="PUT",
                body=json.dumps(judge).encode(),
                content_type="application/json",
            )
            assert saved.status == 200, saved.text
            for collector in (one, other, one):
                body = make_request("shared", RUNS // 3).SerializeToString()
                collector.deliver(body, PROTOBUF)

            def judged() -> int:
                return len(other.runs("shared", where='scores["fits"] >= 0'))

            wait_until(lambda: judged() == RUNS, 120, about=lambda: one.output + other.output)
            assert len(model.requests) == RUNS
            assert len(other.runs("shared", where='kind == "judge"')) == RUNS
