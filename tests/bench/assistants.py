"""Measure assistants: each tool over a million runs, 100 agents at once, and no agent at all."""

import argparse
import http.client
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from otel_ml_collector.times import DAY_NS, to_rfc3339
from tests.bench.dataset import JUDGE, project_name
from tests.bench.dataset_load import Loaded, load
from tests.bench.load import Load, send_load
from tests.bench.pace import pace
from tests.bench.payload import SPANS
from tests.bench.process import cpu_s_of
from tests.bench.spread import spread
from tests.bench.table import print_table, verdict
from tests.support.collector import CollectorProcess

RUNS: Final = 1_000_000
TIMES: Final = 20
ROUNDS: Final = 5
SECONDS: Final = 8.0
ASKERS: Final = 100
# how long an agent thinks between two calls
_THINKS_S: Final = 10.0
_WARM: Final = 3
_ANSWER_MS: Final = 300
_MEMORY_MB: Final = 2
_SLOWER: Final = 0.05
_IN_FLIGHT: Final = 4
_HEADERS: Final = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
}

Given = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Called:
    """The duration and the response of a call.

    Attributes:
        refusal: Why the call was refused; empty if it was answered.
        text: The response.
    """

    took_ms: float
    characters: int
    refusal: str
    text: str = ""


class Asker:
    """Calls tools over one connection, as an agent does.

    Args:
        endpoint: The collector's base address.
    """

    def __init__(self, endpoint: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=60)

    def call(self, tool: str, given: Given) -> Called:
        """Call a tool once."""
        request = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": tool, "arguments": given},
        }
        started = time.perf_counter()
        self._connection.request("POST", "/mcp", json.dumps(request), _HEADERS)
        body = self._connection.getresponse().read()
        took_ms = (time.perf_counter() - started) * 1e3
        result = json.loads(body)["result"]
        text = result["content"][0]["text"]
        return Called(took_ms, len(text), text if result.get("isError") else "", text)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def report(runs: int = RUNS, folder: Path | None = None, times: int = TIMES) -> None:
    """Measure and print.

    Args:
        runs: How many runs the store has.
        folder: Where to keep the store for reuse; None for a temporary store.
        times: How often each tool is called.
    """
    with tempfile.TemporaryDirectory() as scratch:
        report_tools(folder or Path(scratch) / "data", runs, times)
    report_nobody()
    report_ingest()


def report_tools(data_dir: Path, runs: int, times: int = TIMES) -> None:
    """Measure each tool over a loaded store."""
    loaded = load(data_dir, runs)
    collector = CollectorProcess(data_dir)
    try:
        collector.wait_ready()
        asker = Asker(collector.endpoint)
        rows = []
        for title, tool, given in make_calls(loaded):
            for _ in range(_WARM):
                _call_patiently(asker, tool, given)
            cpu_s = cpu_s_of(collector.pid)
            called = [_call_patiently(asker, tool, given) for _ in range(times)]
            cpu_ms = (cpu_s_of(collector.pid) - cpu_s) / times * 1e3
            took_ms = sorted(one.took_ms for one in called)
            p95_ms = took_ms[len(took_ms) * 95 // 100]
            is_reached = p95_ms <= _ANSWER_MS
            rows.append(
                (
                    title,
                    f"{statistics.median(took_ms):,.0f}",
                    f"{p95_ms:,.0f}",
                    f"{cpu_ms:,.0f}",
                    str(_ANSWER_MS),
                    f"{called[0].characters:,}",
                    "refused" if any(one.refusal for one in called) else verdict(is_reached),
                )
            )
        asker.close()
        title = f"tools over {loaded.runs:,} runs"
        heads = (title, "p50 ms", "p95 ms", "CPU ms", "floor, p95", "characters", "")
        print_table(heads, rows)
    finally:
        collector.kill()


def make_calls(loaded: Loaded) -> list[tuple[str, str, Given]]:
    """Make the timed calls: for the largest project, over the last days or the whole month."""
    ours = {"project": project_name(0)}

    def since(days: int) -> Given:
        window = {"since": to_rfc3339(loaded.end_ns - days * DAY_NS)}
        return {**ours, **window, "until": to_rfc3339(loaded.end_ns)}

    _, trace_id, span_id = next(one for one in loaded.samples if one[0] == ours["project"])
    rare = 'tags["client"] == "client-0" and outcome == "error" and latency_ms > 1500'
    return [
        ("overview of all projects", "overview", {}),
        ("overview, 24 h", "overview", since(1)),
        ("overview, 7 days", "overview", since(7)),
        ("find_runs, newest", "find_runs", since(1)),
        ("find_runs, a filter, 30 days", "find_runs", {**since(30), "where": rare}),
        ("find_runs, slowest, 24 h", "find_runs", {**since(1), "order": "slowest"}),
        (f"find_runs, lowest:{JUDGE}, 24 h", "find_runs", {**since(1), "order": f"lowest:{JUDGE}"}),
        ("read, a run", "read", {**ours, "ref": f"{trace_id}-{span_id}"}),
        ("read, a run by 16 digits", "read", {**ours, "ref": span_id}),
        ("read, a trace", "read", {**ours, "ref": trace_id}),
        ("read, a version", "read", {**ours, "ref": "answer:v1"}),
        ("statistics by version, 24 h", "statistics", {**since(1), "group": "version"}),
        ("statistics by day, 30 days", "statistics", {**since(30), "bucket": "1d"}),
        ("errors, 24 h", "errors", since(1)),
        ("errors, 7 days", "errors", since(7)),
        ("compare, two versions", "compare", {**ours, "a": "answer:v1", "b": "answer:v2"}),
        ("find_experiments", "find_experiments", ours),
        ("complete_filter", "complete_filter", {**ours, "text": 'tags["client"] == "'}),
    ]


def _call_patiently(asker: Asker, tool: str, given: Given) -> Called:
    """Call a tool, and retry while the rate limit per minute refuses the call."""
    while True:
        called = asker.call(tool, given)
        if "a minute" not in called.refusal:
            assert "longer" in called.refusal or not called.refusal, (tool, called.refusal)
            return called
        pace(1)  # wait for the rate limit of a minute


def report_nobody(rounds: int = ROUNDS) -> None:
    """Compare start and memory of an unused collector with one that runs with `--no-mcp`."""
    found: dict[str, list[tuple[float, float, float]]] = {"": [], "--no-mcp": []}
    for place in range(2 * rounds + 2):
        option = ("", "--no-mcp")[(place + place // 2) % 2]
        measured = _start(*filter(None, [option]))
        if place > 1:
            found[option].append(measured)
    rows = []
    lines = (("ready after", " s", 2), ("CPU until then", " s", 2), ("memory", " MB", 1))
    for place, (title, unit, digits) in enumerate(lines):
        asked, silent = ([one[place] for one in those] for those in found.values())
        extra = statistics.median(asked) - statistics.median(silent)
        told = verdict(extra <= _MEMORY_MB) if title == "memory" else ""
        shown = f"{extra:+.{digits}f}{unit}"
        rows.append((title, spread(asked, unit, digits), spread(silent, unit, digits), shown, told))
    heads = ("otel-ml serve that nobody asks", "as it is", "--no-mcp", f"≤ {_MEMORY_MB} MB", "")
    print_table(heads, rows)


def _start(*arguments: str) -> tuple[float, float, float]:
    """Start a collector over new data; return seconds until ready, CPU seconds, and MB."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        collector = CollectorProcess(Path(folder) / "data", *arguments)
        try:
            collector.wait_ready()
            took_s = time.perf_counter() - started
            return took_s, cpu_s_of(collector.pid), collector.resident_mb
        finally:
            collector.kill()


def report_ingest(rounds: int = ROUNDS, seconds: float = SECONDS) -> None:
    """Measure by how much 100 agents slow ingest: each round alone and with the agents."""
    alone, beside, calls = [], [], 0
    for place in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            collector = CollectorProcess(Path(folder) / "data")
            try:
                collector.wait_ready()
                _ingest(collector, "warm", 2.0)
                asked = Asker(collector.endpoint)  # the first call loads the protocol
                asked.call("overview", {})
                asked.close()
                for is_asked in (place % 2 == 0, place % 2 == 1):
                    if is_asked:
                        rate, answered = _ingest_asked(collector, seconds)
                        beside.append(rate)
                        calls += answered
                    else:
                        alone.append(_ingest(collector, "load", seconds))
            finally:
                collector.kill()
    ratios = [one / other for one, other in zip(beside, alone, strict=True)]
    slower = 1 - statistics.median(ratios)
    row = (
        "accepted, spans/s",
        spread(alone, "", 0),
        spread(beside, "", 0),
        f"{100 * slower:.1f} %",
        verdict(slower <= _SLOWER),
    )
    asking = f"beside {ASKERS} askers, {calls / rounds / seconds:.1f} calls/s"
    print_table(("ingest, HTTP", "alone", asking, f"slower, ≤ {_SLOWER:.0%}", ""), [row])


def _ingest(collector: CollectorProcess, project: str, seconds: float) -> float:
    sent = send_load(Load(collector.endpoint, project, _IN_FLIGHT, SPANS, seconds))
    return sent.accepted / sent.took_s


def _ingest_asked(collector: CollectorProcess, seconds: float) -> tuple[float, int]:
    """Ingest while 100 agents ask from another process; return spans per second and their calls."""
    context = get_context("spawn")
    began, ended = context.Event(), context.Event()
    answered = context.Value("i", 0)
    askers = context.Process(target=_ask, args=(collector.endpoint, began, ended, answered))
    askers.start()
    try:
        assert began.wait(60)
        rate = _ingest(collector, "load", seconds)
    finally:
        ended.set()
        askers.join()
    return rate, answered.value


def _ask(endpoint: str, began: Any, ended: Any, answered: Any) -> None:
    """Call tools as 100 agents do: a call, then a pause, with evenly spread start times."""
    questions: Sequence[tuple[str, Given]] = (
        ("overview", {"project": "load"}),
        ("find_runs", {"project": "load"}),
        ("statistics", {"project": "load", "group": "version"}),
        ("errors", {"project": "load"}),
    )

    def work(place: int) -> None:
        asker = Asker(endpoint)
        ended.wait(place / ASKERS * _THINKS_S)
        while not ended.is_set():
            asker.call(*questions[place % len(questions)])
            with answered.get_lock():
                answered.value += 1
            ended.wait(_THINKS_S)
        asker.close()

    threads = [threading.Thread(target=work, args=(place,)) for place in range(ASKERS)]
    for thread in threads:
        thread.start()
    began.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="how many the store has")
    parser.add_argument("--folder", type=Path, help="where they are kept for another time")
    parser.add_argument("--times", type=int, default=TIMES, help="calls of each tool")
    chosen = parser.parse_args()
    report(chosen.runs, chosen.folder, chosen.times)
