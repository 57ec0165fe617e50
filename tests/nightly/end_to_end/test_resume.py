"""Slow cases of tests/process/end_to_end/test_resume.py."""

import os
import random
from pathlib import Path
from typing import Final

import pytest

from otel_ml import Client, Dataset
from otel_ml.arguments import InvalidArgumentError
from otel_ml.judges.ready import exact
from tests.process.end_to_end.test_resume import (
    ITEMS,
    REPEATS,
    end,
    found,
    kill_and_go_on,
    start,
)
from tests.support.collector import CollectorProcess
from tests.support.waiting import elapsed, wait_until

KILLS: Final = int(os.environ.get("OTEL_ML_TEST_KILLS", "1"))


@pytest.mark.parametrize("number", range(KILLS))
def test_killed_at_any_moment(collector: CollectorProcess, tmp_path: Path, number: int) -> None:
    """After a kill, each item and repeat is in the result once; `make soak` tries 50 kills."""
    moment_s = random.uniform(0.3, 7.5)  # noqa: S311 - from before its first word to its end
    process = start(tmp_path / "one", collector, f"moment {number}")
    is_moment = elapsed(moment_s)
    wait_until(lambda: process.poll() is not None or is_moment())
    kill_and_go_on(process, collector, f"moment {number}", tmp_path)


def test_what_is_resumed(collector: CollectorProcess, tmp_path: Path) -> None:
    """A changed param starts a new experiment; an id to resume must belong to the same function."""
    process = start(tmp_path / "one", collector, "params")
    wait_until(
        lambda: bool(found(collector, "params")) and found(collector, "params")[0]["done"] > 5
    )
    process.kill()
    process.communicate()
    other = end(start(tmp_path / "two", collector, "params", "auto", "0.7"))
    assert other["asked"] == ITEMS * REPEATS
    [first] = [one for one in found(collector, "params") if one["run_id"] != other["id"]]
    resumed = end(start(tmp_path / "two", collector, "params", first["run_id"]))
    assert resumed["id"] == first["run_id"]
    assert resumed["asked"] < ITEMS * REPEATS
    client = Client("resumed", endpoint=collector.endpoint, join=False)
    for wrong in (first["run_id"], f"{'1' * 32}-{'1' * 16}", "nothing"):
        with pytest.raises(InvalidArgumentError, match="Invalid resume"):
            client.evaluate(len, Dataset("sums", [{"a": 1}]), [exact], resume=wrong)
