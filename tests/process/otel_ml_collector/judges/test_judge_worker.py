"""``otel-ml judge-worker`` runs a collector's judges in a separate process."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from otel_ml_collector.cli.program import main
from tests.support.collector import running
from tests.support.keys import ask, make_key
from tests.support.language_model import language_model
from tests.support.load import PROTOBUF, make_request
from tests.support.otel_ml_collector.judge_workers import (
    connected,
    count_fitting,
    save_fitting,
    working,
)
from tests.support.ports import free_port
from tests.support.program import otel_ml
from tests.support.sampling import at_night
from tests.support.waiting import wait_until

ELSEWHERE: Final = '{"run": false, "quiet_s": 0}'
HERE: Final = '{"quiet_s": 0}'


def test_worker_judges(tmp_path: Path) -> None:
    """A worker with an ordinary key judges the runs of a collector that runs no judges itself."""
    made = otel_ml("keys", "add", "--data-dir", str(tmp_path), "--project=*", "--scope=admin,read")
    admin = made.stdout.strip()
    rules = json.dumps({"patterns": ["answer 1"]})
    with (
        language_model() as model,
        running(tmp_path, *connected(model, ELSEWHERE), "--judge-redact", rules) as collector,
    ):
        save_fitting(collector, "elsewhere", admin)
        usual = make_key(collector, admin)
        key_file = tmp_path / "worker.key"
        key_file.write_text(f"{usual}\n")
        body = make_request("elsewhere", 12).SerializeToString()
        collector.deliver(body, {**PROTOBUF, "authorization": f"Bearer {usual}"})
        with working(collector, model, "--api-key-file", str(key_file)) as worker:
            wait_until(
                lambda: count_fitting(collector, "elsewhere", admin) == 12,
                60,
                about=lambda: worker.output,
            )
            assert set(model.count_prompts().values()) == {1}
            shown = "".join(request.prompt for request in model.requests)
            # The collector redacts by its own rules before it passes a run to the worker.
            assert "question 1" in shown
            assert "answer 1" not in shown
            path = "/api/v1/projects/elsewhere/rubric-judges/fits"
            assert ask(collector, path, admin).json["calls_today"] == 12
            assert worker.stop() == 0


@at_night
def test_killed_worker(tmp_path: Path) -> None:
    """A killed worker resumes after its restart, and repeats no call with a stored reply."""
    with (
        language_model() as model,
        running(tmp_path, *connected(model, ELSEWHERE)) as collector,
    ):
        save_fitting(collector, "killed")
        collector.deliver(make_request("killed", 10).SerializeToString(), PROTOBUF)
        with working(collector, model, "--name", "one") as worker:
            wait_until(
                lambda: count_fitting(collector, "killed") == 10, 60, about=lambda: worker.output
            )
            model.hangs.set()
            collector.deliver(make_request("killed", 10).SerializeToString(), PROTOBUF)
            wait_until(lambda: len(model.requests) == 14)  # four threads wait for a reply
            worker.kill()
        model.hangs.clear()
        model.released.set()
        with working(collector, model, "--name", "one") as worker:
            wait_until(
                lambda: count_fitting(collector, "killed") == 20, 60, about=lambda: worker.output
            )
            # Only the four calls without a reply at the kill were repeated.
            assert len(model.requests) == 24


@at_night
def test_restarted_collector(tmp_path: Path) -> None:
    """A worker keeps its replies while the collector is down, and stores them afterwards."""
    place = ("--http", f"127.0.0.1:{free_port()}")
    with (
        language_model() as model,
        running(tmp_path, *connected(model, ELSEWHERE), *place) as collector,
        working(collector, model) as worker,
    ):
        save_fitting(collector, "away")
        model.hangs.set()
        collector.deliver(make_request("away", 3).SerializeToString(), PROTOBUF)
        wait_until(lambda: len(model.requests) == 3, about=lambda: worker.output)
        collector.kill()
        model.released.set()
        collector.restart()
        wait_until(lambda: count_fitting(collector, "away") == 3, 60, about=lambda: worker.output)
        assert len(model.requests) == 3


@at_night
def test_workers_and_collector(tmp_path: Path) -> None:
    """Two workers and the collector itself share the runs, with one call for each run."""
    with (
        language_model() as model,
        running(tmp_path, *connected(model, HERE)) as collector,
        ExitStack() as workers,
    ):
        output = [workers.enter_context(working(collector, model)) for _ in range(2)]
        save_fitting(collector, "together")
        for _ in range(3):
            collector.deliver(make_request("together", 10).SerializeToString(), PROTOBUF)
        wait_until(
            lambda: count_fitting(collector, "together") == 30,
            90,
            about=lambda: "".join(worker.output for worker in output),
        )
        assert len(model.requests) == 30


@at_night
def test_no_connection(capsys: pytest.CaptureFixture[str]) -> None:
    """A worker without a model connection exits with one line that names the missing setting."""
    assert main(["judge-worker", "--judge-connections", ""]) == 2
    assert "set judge_connections" in capsys.readouterr().err


@at_night
def test_wrong_key(tmp_path: Path) -> None:
    """A worker with an invalid key exits with one line that says so."""
    otel_ml("keys", "add", "--data-dir", str(tmp_path), "--project=*", "--scope=admin")
    with language_model() as model, running(tmp_path) as collector:
        settings = ("--endpoint", collector.endpoint, *connected(model, HERE))
        ended = otel_ml("judge-worker", *settings, OTEL_ML_API_KEY="wrong")
    assert (ended.returncode, "a key is needed" in ended.stderr) == (4, True), ended.stderr
