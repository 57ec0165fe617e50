"""Prometheus scrapes a running collector, evaluates the rules, and notifies Alertmanager."""

import math
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_ml import Client, Judge
from otel_ml_collector.span import Value
from tests.nightly.deploy import dashboard
from tests.nightly.neighbours.programs import running
from tests.nightly.neighbours.prometheus import (
    CONFIG,
    RULES,
    Alertmanager,
    Inbox,
    Prometheus,
    deployed_rules,
    deployed_scrape,
)
from tests.support.clickhouse import ClickHouse, clickhouse
from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT
from tests.support.load import PROTOBUF
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.wire import encode
from tests.support.ports import free_port
from tests.support.relay import Relay
from tests.support.waiting import wait_until

PROJECT: Final = "shop"
# Its name is in the setting for projects with a sampler.
SAMPLED: Final = "sampled"
DASHBOARDS: Final = sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))
QUERIES: Final = [query for file in DASHBOARDS for query in dashboard.queries(file)]
# Panels that may show 0 in normal operation.
IDLE: Final = {"Queue"}
_PATIENCE_S: Final = 60.0
# A disk so slow that storing one run, about 4 KB of inserts, takes about 2 s.
_SLOW_BYTES_PER_S: Final = 2_000
_PAUSE_S: Final = 0.2
_SCRAPES: Final = 10
# At its end, it reports in a separate request how many spans it sent.
_LOSING: Final = """
import sys
from otel_ml import Client
client = Client(sys.argv[1])
with client.run("lost"):
    pass
client.flush(10)
"""
_LATE_NS: Final = 10 * 60 * 10**9


@dataclass(frozen=True, slots=True)
class Watch:
    """A collector, and the programs that monitor it."""

    collector: CollectorProcess
    prometheus: Prometheus
    alertmanager: Alertmanager
    inbox: Inbox


@contextmanager
def watching(folder: Path, collector: CollectorProcess) -> Iterator[Watch]:
    """Start the programs for a collector."""
    with ExitStack() as stack:
        inbox = Inbox()
        stack.callback(inbox.close)
        alertmanager = Alertmanager(folder / "alertmanager", inbox)
        stack.enter_context(running(alertmanager))
        target = collector.endpoint.removeprefix("http://")
        prometheus = Prometheus(folder / "prometheus", target, alertmanager.address)
        stack.enter_context(running(prometheus))
        yield Watch(collector, prometheus, alertmanager, inbox)


@contextmanager
def collecting(folder: Path, *arguments: str) -> Iterator[CollectorProcess]:
    """Start a collector that keeps its addresses when it restarts."""
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    collector = CollectorProcess(folder, "--http", addresses[0], "--grpc", addresses[1], *arguments)
    try:
        collector.wait_ready()
        yield collector
    finally:
        collector.kill()


def test_killed_collector(tmp_path: Path) -> None:
    """Alerts report that a collector is down, and that it is back."""
    with collecting(tmp_path / "data") as collector, watching(tmp_path, collector) as watch:
        wait_until(lambda: watch.prometheus.has_read(1))
        assert watch.inbox.alerts == []
        collector.kill()
        wait_until(lambda: bool(watch.inbox.told("OtelMlDown", "firing")), _PATIENCE_S)
        told = watch.inbox.told("OtelMlDown", "firing")[0]
        instance = collector.endpoint.removeprefix("http://")
        assert told["annotations"]["summary"] == f"The collector {instance} does not answer"
        assert told["labels"]["severity"] == "critical"
        collector.restart()
        wait_until(lambda: bool(watch.inbox.told("OtelMlDown", "resolved")), _PATIENCE_S)


@contextmanager
def storing(folder: Path, bytes_per_s: int = 0) -> Iterator[tuple[ClickHouse, Watch]]:
    """Start a collector with a ClickHouse server, the monitoring programs, and a sender."""
    with (
        clickhouse(folder / "server", bytes_per_s=bytes_per_s) as server,
        collecting(folder / "data", "--store", server.url(server.make_database())) as collector,
        watching(folder, collector) as watch,
    ):
        ends = threading.Event()

        def send() -> None:
            while not ends.wait(_PAUSE_S):
                collector.post("/v1/traces", encode([make_call("answer")]), PROTOBUF)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            yield server, watch
        finally:
            ends.set()
            sender.join()


def test_slow_store(tmp_path: Path) -> None:
    """If storing a batch takes more than a second, an alert fires with the time."""
    with storing(tmp_path, _SLOW_BYTES_PER_S) as (_, watch):
        wait_until(lambda: bool(watch.inbox.told("OtelMlCommitSlow", "firing")), 2 * _PATIENCE_S)
        summary = watch.inbox.told("OtelMlCommitSlow", "firing")[0]["annotations"]["summary"]
        time_s = re.fullmatch(
            r"Storing a batch of records takes (?:(\d)m )?([\d.]+)s \(p99\)", summary
        )
        assert time_s is not None, summary
        assert 60 * int(time_s[1] or 0) + float(time_s[2]) > 1


def test_store_is_gone(tmp_path: Path) -> None:
    """If the store is down and senders have to retry, an alert fires."""
    with storing(tmp_path) as (server, watch):
        wait_until(lambda: watch.prometheus.has_read(3))
        assert watch.inbox.alerts == []
        server.kill()
        wait_until(lambda: bool(watch.inbox.told("OtelMlUnavailable", "firing")), _PATIENCE_S)
        told = watch.inbox.told("OtelMlUnavailable", "firing")[0]
        assert told["labels"]["severity"] == "critical"
        assert re.fullmatch(
            r"The collector asks senders to send [\d.]+% of their requests again",
            told["annotations"]["summary"],
        )


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """Start a running collector that Prometheus has scraped often enough to compute rates."""
    folder = tmp_path_factory.mktemp("watch")
    with collecting(folder / "data", "--sampled-projects", SAMPLED) as collector:
        lose(collector, PROJECT)
        lose(collector, SAMPLED)
        send_late(collector)
        collector.restart()  # missing spans are detected at the start
        client = Client(PROJECT, endpoint=collector.endpoint)
        answers = make_answers(client)
        work(collector, client, answers)
        ends = threading.Event()

        def go_on() -> None:
            while not ends.wait(_PAUSE_S):
                work(collector, client, answers)

        with watching(folder, collector) as started:
            worker = threading.Thread(target=go_on)
            worker.start()
            try:
                wait_until(lambda: started.prometheus.has_read(_SCRAPES), _PATIENCE_S)
                yield started
            finally:
                ends.set()
                worker.join()
                client.close()


def lose(collector: CollectorProcess, project: str) -> None:
    """Lose the spans of a process between the process and the collector."""
    relay = Relay(collector, lambda names: "lost" in names)
    environment = {**os.environ, "OTEL_ML_ENDPOINT": relay.endpoint}
    command = [sys.executable, "-c", _LOSING, project]
    subprocess.run(command, env=environment, timeout=60, check=True)
    relay.close()


def send_late(collector: CollectorProcess) -> None:
    """Send a span long after its end."""
    ended_ns = time.time_ns() - _LATE_NS
    named: dict[str, Value] = {
        "otel_ml.project": PROJECT,
        "otel_ml.process": "0000000b",
        "otel_ml.seq": 1,
    }
    late = make_call("answer", named, start_ns=ended_ns - 1000, end_ns=ended_ns)
    collector.deliver(encode([late]), PROTOBUF)


Answer = Callable[[str], dict[str, Any]]


def make_answers(client: Client) -> list[Answer]:
    """Return two versions of a model with judges: one passes 3 of 4 answers, the other 1 of 4."""

    def rate(outputs: dict[str, Any]) -> float:
        return 1.0 if "yes" in outputs["choices"][0]["message"]["content"] else 0.25

    def break_down(outputs: dict[str, Any]) -> float:
        raise ValueError(outputs)

    judges = [
        client.add_judge(Judge("agrees", "The answer is yes", rate, lambda score: score > 0.5)),
        client.add_judge(Judge("broken", "Never says anything", break_down)),
    ]

    @client.assess(
        *judges, inline=True, name="answer", kind="chat", provider="openai", model="gpt-4o"
    )
    def answer(question: str) -> dict[str, Any]:
        return reply("no" if question.startswith("d") else "yes")

    @client.assess(
        *judges, inline=True, name="answer", kind="chat", provider="openai", model="gpt-4o"
    )
    def edited_answer(question: str) -> dict[str, Any]:
        if question.startswith("e"):
            raise ValueError(question)
        return reply("yes" if question.startswith("a") else "no")

    return [answer, edited_answer]


def reply(text: str) -> dict[str, Any]:
    """Return a provider's response with token counts."""
    return {
        "model": "gpt-4o-2024-08-06",
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 200},
    }


def work(collector: CollectorProcess, client: Client, answers: list[Answer]) -> None:
    """Call both versions, and send a span to reject and a request to refuse."""
    for answer in answers:
        for question in ("a?", "b?", "c?", "d?", "e?")[: 4 if answer is answers[0] else 5]:
            with suppress(ValueError):
                answer(question)
    assert client.flush()
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(name="no ids")
    collector.deliver(request.SerializeToString(), PROTOBUF, is_whole=False)
    assert collector.post("/v1/traces", b"\xff", PROTOBUF)[0] == 400


def test_target(watch: Watch) -> None:
    """Prometheus scrapes the collector without an error."""
    [target] = watch.prometheus.ask("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    assert target["scrapeUrl"] == f"{watch.collector.endpoint}/metrics"


def test_rules(watch: Watch) -> None:
    """Prometheus loads every rule of ``deploy/`` and evaluates it without an error."""
    names = re.findall(r"- alert: (\w+)", RULES.read_text())
    wait_until(
        lambda: "unknown" not in {one["health"] for one in watch.prometheus.rules().values()}
    )
    found = {
        name: (one["health"], one.get("lastError", ""))
        for name, one in watch.prometheus.rules().items()
    }
    assert found == dict.fromkeys(names, ("ok", ""))


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.panel}: {query.text}")
def test_query(query: dashboard.Query, watch: Watch) -> None:
    """Every query of every panel returns numbers, with the labels of its legend."""

    def has_numbers() -> bool:
        found = watch.prometheus.series(query.text)
        values = [value for _, values in found for value in values if math.isfinite(value)]
        return bool(values) and (max(values) > 0 or query.panel in IDLE)

    wait_until(has_numbers)
    labels = {label for metric, _ in watch.prometheus.series(query.text) for label in metric}
    assert labels >= query.labels


def last_by_version(watch: Watch, panel: str) -> dict[tuple[str, str, str], float]:
    """Return the last values of a panel by model, version and judge."""
    [query] = [one for one in QUERIES if one.panel == panel]
    return {
        (metric["model"], metric["version"], metric.get("judge", "")): values[-1]
        for metric, values in watch.prometheus.series(query.text)
        if math.isfinite(values[-1]) and "version" in metric
    }


@pytest.mark.parametrize(
    ("panel", "judge", "first", "second"),
    [
        ("Pass rate by model version and judge version", "agrees", 0.75, 0.25),
        ("Mean score by model version and judge version", "agrees", 0.8125, 0.4375),
        ("Errors of recorded runs", "", 0.0, 0.2),
    ],
)
def test_versions_are_told_apart(
    watch: Watch, panel: str, judge: str, first: float, second: float
) -> None:
    """A panel shows the right value for each version of the model."""
    expected = {("answer", "v1", judge): first, ("answer", "v2", judge): second}
    # A scrape during a round of calls sees only a part of them.
    wait_until(lambda: last_by_version(watch, panel) == pytest.approx(expected, abs=0.05))


def test_cost_of_a_run(watch: Watch) -> None:
    """Together, the panels of cost and of runs give the cost per run from the price table."""
    texts = {query.panel: query.text for query in QUERIES}
    both = f"({texts['Cost']}) / (3600 * {texts['Recorded runs by model version']})"
    found = {metric["version"]: values[-1] for metric, values in watch.prometheus.series(both)}
    # A million tokens of gpt-4o cost $2.50 (input) and $10 (output).
    assert found["v1"] == pytest.approx(1000 * 2.5e-6 + 200 * 10e-6)


def test_firing_alerts_arrive(watch: Watch) -> None:
    """Alerts about rejected and missing spans fire, and Alertmanager sends them with their text."""
    names = {"OtelMlRejectsSpans", "OtelMlSpansMissing"}
    wait_until(lambda: all(watch.inbox.told(name, "firing") for name in names), _PATIENCE_S)
    summaries = {
        name: watch.inbox.told(name, "firing")[0]["annotations"]["summary"] for name in names
    }
    assert summaries == {
        "OtelMlRejectsSpans": "The collector rejects spans: invalid_trace_id",
        "OtelMlSpansMissing": f"2 spans of project {PROJECT} are missing",
    }
    assert {one["labels"]["alertname"] for one in watch.alertmanager.alerts()} >= names


def test_only_addresses_and_times_are_replaced() -> None:
    """The tests use the files of ``deploy/``, with only targets, intervals and waits changed."""

    def changed(old: str, new: str) -> list[tuple[str, str]]:
        pairs = zip(old.splitlines(), new.splitlines(), strict=False)
        return [(before.strip(), after.strip()) for before, after in pairs if before != after]

    assert [after for _, after in changed(CONFIG.read_text(), deployed_scrape("o:1", "a:2"))] == [
        *("scrape_interval: 1s", "evaluation_interval: 1s", '- targets: ["o:1"]'),
    ]
    waits = changed(RULES.read_text(), deployed_rules())
    assert waits
    for before, after in waits:
        assert re.fullmatch(r"for: \d+m", before)
        assert after == f"{before.removesuffix('m')}s"
