"""A project of a real store, with a clock that the test moves."""

from collections.abc import Iterable, Iterator
from typing import Any

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.runs.answers import Run, RunSummary, Trace
from otel_ml_collector.runs.find import RunsQuery, find_run, find_runs
from otel_ml_collector.runs.traces import find_trace
from otel_ml_collector.span import Span
from otel_ml_collector.store.writer import Writer
from tests.support.otel_ml_collector.spans import (
    DAY_NS,
    NOW_NS,
    SECOND_NS,
    id_of,
    make_call,
    make_start,
)
from tests.support.otel_ml_collector.stores import Store


class Arrivals:
    """A store to which several projects write, each on a separate day.

    Arrival times never decrease in a store, so each project begins after the previous ones and is
    written before the next one.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now_ns = NOW_NS
        self._writer = self.open_writer()
        # A writer's first start record triggers a sweep, so everything after it is read unswept.
        self.write([make_start(make_call(start_ns=NOW_NS))], "other", NOW_NS)

    def open_writer(self) -> Writer:
        return Writer(self.store.connections, clock=lambda: self.now_ns)

    def write(
        self, spans: Iterable[Span], project: str, now_ns: int, writer: Writer | None = None
    ) -> None:
        self.now_ns = now_ns
        (writer or self._writer).write(map_spans(spans, Filing(project, now_ns)))


class Timeline:
    """The records that arrive for a project over time, and queries at the current time."""

    def __init__(self, arrivals: Arrivals, project: str) -> None:
        self._arrivals = arrivals
        self.reader = arrivals.store.reader
        self.project = project
        self.now_ns = arrivals.now_ns + DAY_NS

    def wait(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND_NS)

    def call(self, model: str = "train", **fields: Any) -> Span:
        """Make a call that begins now and takes a second."""
        return make_call(
            model, **{"start_ns": self.now_ns, "end_ns": self.now_ns + SECOND_NS, **fields}
        )

    def take(self, *spans: Span, project: str | None = None) -> None:
        """Store spans that arrive now."""
        self._arrivals.write(spans, project or self.project, self.now_ns)

    def take_elsewhere(self, *spans: Span) -> None:
        """Store spans that arrive now at another collector of the same store."""
        self._arrivals.write(spans, self.project, self.now_ns, self._arrivals.open_writer())

    def runs(self, where: str = "", project: str | None = None, **query: Any) -> list[RunSummary]:
        asked = RunsQuery(project or self.project, where, **query)
        return find_runs(self.reader, asked, self.now_ns).runs

    def names(self, where: str = "", **query: Any) -> list[str]:
        return [run.name for run in self.runs(where, **query)]

    def walk(self, limit: int, **query: Any) -> Iterator[RunSummary]:
        """Yield the runs of a list page by page."""
        cursor: str | None = None
        while True:
            asked = RunsQuery(self.project, limit=limit, cursor=cursor, **query)
            page = find_runs(self.reader, asked, self.now_ns)
            yield from page.runs
            if page.next_cursor is None:
                return
            assert len(page.runs) == limit
            cursor = page.next_cursor

    def run(self, span: Span, project: str | None = None) -> Run:
        asked = project or self.project
        return find_run(self.reader, id_of(span), asked, now_ns=self.now_ns)

    def trace(self, key: str) -> Trace:
        return find_trace(self.reader, key, now_ns=self.now_ns)

    def outcome(self, span: Span) -> str:
        """Return a run's outcome after checking that its page and the list agree."""
        outcome = self.run(span).outcome
        assert [run.outcome for run in self.runs() if run.run_id == id_of(span)] == [outcome]
        return outcome
