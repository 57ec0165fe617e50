"""Compare a full project with a plain one: lists, pages, statements per page, and ingest.

``python -m tests.bench queries written pages ingest --full``; use ``--runs`` and ``--times`` for
less.
"""

import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Final, NamedTuple, TypeVar
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

from otel_ml_collector.store.sql import Sql
from tests.bench import pages, traffic
from tests.bench.beside import Tree
from tests.bench.dataset import Dataset, project_name
from tests.bench.dataset_full import FullDataset
from tests.bench.dataset_load import Loaded, load
from tests.bench.ingest import SECONDS
from tests.bench.load import Load, Sent, send_load
from tests.bench.payload import SPANS
from tests.bench.payload_full import FullTemplate
from tests.bench.process import cpu_s_of, wait_idle
from tests.bench.progress import measuring
from tests.bench.queries import RUNS, ask, open_beside, writing
from tests.bench.queries_asked import Asked, make_queries
from tests.bench.spread import spread
from tests.bench.table import print_table, verdict
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.asgi import ask as ask_app
from tests.support.otel_ml_collector.stores import Service, open_service

TIMES: Final = 12
# How many times in a row one store is queried before the other one's turn.
_IN_A_ROW: Final = 4
IN_FLIGHT: Final = (4, 32)
# Limits of full ÷ plain: the maximum for the time of lists, the minimum for the speed of ingest.
_LISTS: Final = 1.5
_INGEST: Final = 0.9
_OK: Final = 200
_QUERIES: Final = Sql("SELECT sum(value) AS queries FROM system.events WHERE event = 'Query'")

_MONTHS: Final[Mapping[str, type[Dataset]]] = {"plain": Dataset, "full": FullDataset}

_Taken = Mapping[str, Sequence[float]]
_Figure = TypeVar("_Figure")
# by question and store
_ByStore = dict[str, dict[str, _Figure]]


def report_queries(runs: int = RUNS, times: int = TIMES) -> None:
    """Ask both stores each question in turns, then count the statements of each page."""
    with tempfile.TemporaryDirectory() as folder:
        with _open_both(Path(folder), runs) as both:
            taken, used_ms = _ask_both(both, times)
            _print_taken(taken, runs)
            _print_cpu(used_ms, runs)
        _report_statements(Path(folder), runs)


def report_written(runs: int = RUNS, times: int = TIMES) -> None:
    """Ask the same questions while 2,000 runs per second are written to the store."""
    with tempfile.TemporaryDirectory() as folder, _open_both(Path(folder), runs) as both:
        taken: dict[str, dict[str, list[float]]] = {}
        for kind, (collector, loaded) in both.items():
            with writing(collector, _MONTHS[kind]):
                asked, _ = _ask_both({kind: (collector, loaded)}, times)
                for title, took_ms in asked.items():
                    taken.setdefault(title, {}).update(took_ms)
        _print_taken(taken, runs)


def report_pages(runs: int = RUNS, times: int = TIMES) -> None:
    """Open the pages of both stores."""
    with tempfile.TemporaryDirectory() as folder:
        taken: dict[str, dict[str, Sequence[float]]] = {}
        with _open_both(Path(folder), runs) as both:
            for kind, (collector, loaded) in both.items():
                for title, took_ms in pages.take_all(collector, loaded, times).items():
                    taken.setdefault(title, {})[kind] = took_ms
        _print_taken(taken, runs)
        _report_statements(Path(folder), runs)


def measure_queries(tree: Tree, runs: int, times: int) -> Mapping[str, float]:
    """Ask the plain and the full store of a tree each question in turns; the stores stay."""
    with ExitStack() as stack:
        both = {
            kind: stack.enter_context(open_beside(tree, runs, month))
            for kind, month in _MONTHS.items()
        }
        taken, used_ms = _ask_both(both, times)
    found: dict[str, float] = {}
    for title, of_kind in taken.items():
        p50_ms = {kind: statistics.median(took_ms) for kind, took_ms in of_kind.items()}
        found |= {f"{title}, {kind}: p50, ms": middle for kind, middle in p50_ms.items()}
        for kind, cpu_ms in used_ms.get(title, {}).items():
            found[f"{title}, {kind}: CPU, ms"] = cpu_ms
        if p50_ms.keys() == _MONTHS.keys():
            found[f"{title}: full ÷ plain"] = p50_ms["full"] / p50_ms["plain"]
    return found


def report_ingest(rounds: int = TIMES, seconds: float = SECONDS) -> None:
    """Fill projects of one scope, of several scopes, and with late scores in turns.

    So all of them grow.
    """
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        collector = CollectorProcess(Path(folder) / "data")
        try:
            collector.wait_ready()
            for in_flight in IN_FLIGHT:
                rows += _fill_all(collector, in_flight, rounds, seconds)
        finally:
            collector.kill()
    heads = (
        *("in flight, spans there", "one scope, spans/s", "several", "÷", f"≥ {_INGEST}"),
        *("late scores, spans/s", "÷"),
    )
    print_table(heads, rows)


def measure_ingest(tree: Tree, rounds: int) -> Mapping[str, float]:
    """Fill a project of each kind in a tree's collector, in turns; scores do not count as spans."""
    filled: dict[str, list[_Filled]] = {}
    with tempfile.TemporaryDirectory() as folder, tree.serve(Path(folder) / "data") as collector:
        for in_flight in IN_FLIGHT:
            for number in range(rounds):
                for kind in _KINDS:
                    title = f"{kind}, {in_flight} in flight"
                    with measuring(f"{title}, {number + 1} of {rounds}"):
                        one = _fill(collector, kind, in_flight, SECONDS)
                    filled.setdefault(title, []).append(one)
    found: dict[str, float] = {}
    for title, those in filled.items():
        found[f"{title}, spans/s"] = statistics.median(one.rate for one in those)
        found[f"{title}, last round, spans/s"] = those[-1].rate
        found[f"{title}, CPU µs a span"] = statistics.median(one.cpu_us for one in those)
    return found


def measure_traffic(tree: Tree) -> Mapping[str, float]:
    """Measure a tree for a minute of 300 spans/s by several scopes."""
    return traffic.measure_beside(tree, [traffic.SEVERAL])


_ONE: Final = "one scope"
_SEVERAL: Final = "several scopes"
_SCORED: Final = "late scores of every fourth run"
_KINDS: Final = (_ONE, _SEVERAL, _SCORED)


class _Filled(NamedTuple):
    """Runs per second that were stored, and the collector's CPU for one in µs, reads included."""

    rate: float
    cpu_us: float


def _fill_all(
    collector: CollectorProcess, in_flight: int, rounds: int, seconds: float
) -> Iterator[list[str]]:
    there = 0.0
    ratios: list[tuple[float, float]] = []
    for _ in range(rounds):
        one, several, scored = (_fill(collector, kind, in_flight, seconds).rate for kind in _KINDS)
        there += several * seconds
        ratios.append((several / one, scored / one))
        figures = (f"{one:,.0f}", f"{several:,.0f}", f"{several / one:.2f}", "")
        late = (f"{scored:,.0f}", f"{scored / one:.2f}")
        yield [f"{in_flight}, {there:,.0f}", *figures, *late]
    of_several, of_scored = zip(*ratios, strict=True)
    reached = verdict(statistics.median(of_several) >= _INGEST)
    title = f"{in_flight}, all rounds"
    yield [title, "", "", spread(of_several), reached, "", spread(of_scored)]


def _fill(collector: CollectorProcess, kind: str, in_flight: int, seconds: float) -> _Filled:
    """Send to the project of a kind for some seconds, and check that the runs are stored."""
    project = f"{kind}, {in_flight} in flight"
    is_full, is_scored = kind == _SEVERAL, kind == _SCORED
    before, cpu_s = _count_runs(collector, project), cpu_s_of(collector.pid)
    sent: Sent = send_load(
        Load(
            *(collector.endpoint, project, in_flight, SPANS, seconds),
            is_full=is_full,
            is_scored=is_scored,
        )
    )
    counted = FullTemplate(project).counted if is_full else 1
    added = _count_runs(collector, project) - before
    # The last requests may be incomplete traces, so more of their calls are counted for now.
    assert added >= (sent.accepted - in_flight * SPANS) * counted, (added, sent.accepted)
    cpu_s = cpu_s_of(collector.pid) - cpu_s
    return _Filled(sent.accepted / sent.took_s, cpu_s / max(sent.accepted, 1) * 1e6)


def _count_runs(collector: CollectorProcess, project: str) -> int:
    projects = {one["project"]: one["runs"] for one in collector.get("/projects")["projects"]}
    return int(projects.get(project, 0))


_Both = Mapping[str, tuple[CollectorProcess, Loaded]]


@contextmanager
def _open_both(folder: Path, runs: int) -> Iterator[_Both]:
    """Load a plain store and a full one once, and serve both."""
    loaded = {kind: load(folder / kind, runs, month) for kind, month in _MONTHS.items()}
    with ExitStack() as stack:
        served = {}
        for kind in _MONTHS:
            collector = CollectorProcess(folder / kind)
            stack.callback(collector.stop)
            collector.wait_ready()
            served[kind] = collector, loaded[kind]
        for collector, _ in served.values():
            wait_idle(collector.pid)
        yield served


def _ask_both(both: _Both, times: int) -> tuple[_ByStore[list[float]], _ByStore[float]]:
    """Ask each store each question in turns; small stores skip questions without results.

    Returns:
        The durations of the responses and the CPU time of one, in ms, by question and store.
    """
    taken: _ByStore[list[float]] = {}
    used_ms: _ByStore[float] = {}
    asked_of = {kind: make_queries(*served) for kind, served in both.items()}
    for questions in zip(*asked_of.values(), strict=True):
        answered = {
            kind: question
            for kind, question in zip(both, questions, strict=True)
            if both[kind][1].runs >= RUNS or _has_answer(both[kind][0], question)
        }
        for first in range(0, times, _IN_A_ROW):
            for kind, question in answered.items():
                collector, _ = both[kind]
                before_s = cpu_s_of(collector.pid)
                took_ms = ask(collector, question, min(_IN_A_ROW, times - first), warm=not first)
                assert not isinstance(took_ms, str), (question.title, took_ms)
                taken.setdefault(question.title, {}).setdefault(kind, []).extend(took_ms)
                if first:  # the first ones warm up
                    used = (cpu_s_of(collector.pid) - before_s) * 1e3 / (times - _IN_A_ROW)
                    of_title = used_ms.setdefault(question.title, {})
                    of_title[kind] = of_title.get(kind, 0) + used
    return taken, used_ms


def _has_answer(collector: CollectorProcess, asked: Asked) -> bool:
    try:
        with urlopen(collector.endpoint + asked.path(0), timeout=60) as answer:
            return asked.fits(answer.read())
    except HTTPError:
        return False


def _print_taken(taken: Mapping[str, _Taken], runs: int) -> None:
    rows = []
    for title, of_kind in taken.items():
        if of_kind.keys() < {"plain", "full"}:
            continue
        plain, full = (statistics.median(of_kind[kind]) for kind in ("plain", "full"))
        ratio = full / plain
        rows.append(
            [title, f"{plain:.1f}", f"{full:.1f}", f"{ratio:.2f}", verdict(ratio <= _LISTS)]
        )
    heads = (f"{runs:,} runs, p50, ms", "plain", "full", "full ÷ plain", f"≤ {_LISTS}")
    print_table(heads, rows)


def _print_cpu(used_ms: _ByStore[float], runs: int) -> None:
    """Print the CPU time of a response, which other programs change less than its duration."""
    rows = []
    for title, used in used_ms.items():
        if used.get("plain") and used.get("full"):
            plain, full = used["plain"], used["full"]
            rows.append([title, f"{plain:.0f}", f"{full:.0f}", f"{full / plain:.2f}"])
    print_table((f"{runs:,} runs, CPU, ms", "plain", "full", "full ÷ plain"), rows)


def _report_statements(folder: Path, runs: int) -> None:
    """Count the statements of each page. The embedded engine needs a process for each store."""
    counts: dict[str, Mapping[str, int]] = {}
    for kind in ("plain", "full"):
        with get_context("spawn").Pool(1) as pool:
            counts[kind] = pool.apply(count_statements, (folder / kind, runs))
    rows = [
        [path, str(counts["plain"][path]), str(counts["full"][path])] for path in counts["plain"]
    ]
    print_table(("statements", "plain", "full"), rows)


def count_statements(data_dir: Path, runs: int) -> Mapping[str, int]:
    """Request each page and list twice; return the statement count of the second response."""
    loaded = load(data_dir, runs)
    first = f"/projects/{quote(project_name(0))}"
    project, trace_id, span_id = loaded.samples[0]
    run = f"/projects/{quote(project)}/runs/{trace_id}-{span_id}"
    paths = {
        "home": "/",
        "runs": f"{first}/runs",
        "run": run,
        "model": f"{first}/models/answer",
        "judges": f"{first}/judges",
        "API: runs": f"/api/v1{first}/runs",
        "API: a filter": f"/api/v1{first}/runs?where=outcome+%3D%3D+%22error%22",
        "API: run": f"/api/v1{run}",
        "API: trace": f"/api/v1/traces/{trace_id}",
        "API: statistics": f"/api/v1{first}/stats?group=version",
    }
    with open_service(data_dir) as service:
        return {title: _count(service, path) for title, path in paths.items()}


def _count(service: Service, path: str) -> int:
    """Request a path twice and count the statements of the second request."""
    assert ask_app(service.app, path).status == _OK, path
    (before,) = service.store.reader.rows(_QUERIES, {})
    assert ask_app(service.app, path).status == _OK, path
    (after,) = service.store.reader.rows(_QUERIES, {})
    return int(after["queries"] - before["queries"]) - 1
