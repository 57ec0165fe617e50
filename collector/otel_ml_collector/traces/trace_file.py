"""A trace, a session or a list of runs as one HTML file: what their pages show."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from otel_ml.counts import write_count, write_number
from otel_ml_collector.api.parameters import Cursor
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.artifacts.find import read_image
from otel_ml_collector.runs import find as runs
from otel_ml_collector.runs.answers import Run
from otel_ml_collector.runs.roots import find_roots
from otel_ml_collector.store.facts import LoggedMetric
from otel_ml_collector.traces.page import (
    PageForms,
    ShownRun,
    describe_run,
    find_shown,
    find_top,
)
from otel_ml_collector.traces.run_list import ListQuery, describe_list
from otel_ml_collector.traces.sessions import describe_session
from otel_ml_collector.traces.trace_pane import TracePane, make_pane, read_tree
from otel_ml_collector.traces.tree import SpanTree
from otel_ml_collector.traces.tree_rows import TreeRow
from otel_ml_collector.web import view
from otel_ml_collector.web.portable import PartLimits
from otel_ml_collector.web.shared_file import (
    FEW_ROWS,
    MOST_FILE_BYTES,
    FromFileOptions,
    SharedFile,
    count_text,
    describe_cuts,
)

# Rows of the tree. The spans of these rows are in the file.
_FILE_ROWS: Final = 300
_READ_SPANS: Final = 50
# A file has this size without its images, or more if it has more than 50 spans.
_SMALL_TRACE_BYTES: Final = 300_000
_SPAN_BYTES: Final = 6_000


class _FileForms(PageForms):
    """The state of the page in a file: nearly all rows of the tree are unfolded."""

    unfolded = _FILE_ROWS


api = APIRouter(prefix="/api/v1", route_class=DeferredRoute)


@api.get("/projects/{project:path}/runs/{run_id}/file", response_class=HTMLResponse)
def get_run_file(request: Request, project: str, run_id: str, options: FromFileOptions) -> Response:
    """Make one HTML file of the trace of a run: its tree, graph, inputs, outputs and scores.

    The file opens without a server. If it would be too large, it says what was left out.
    """
    reader = options.reader
    shown = find_shown(reader, project, run_id)
    file = SharedFile(
        request,
        options,
        project,
        view.address(project, "runs", run_id),
        read_image=lambda digest: read_image(reader, project, digest)[1],
    )
    if shown.is_alone:
        return _TraceFile(file, shown, None, None).answer()
    spans, is_part = read_tree(reader, shown.trace, shown.now_ns, shown.run.trace_id)
    pane = make_pane(
        reader,
        spans,
        _FileForms(),
        shown.run,
        now_ns=shown.now_ns,
        known=shown.trace.runs,
        is_part=is_part,
    )
    return _TraceFile(file, shown, spans, pane).answer()


@api.get("/projects/{project:path}/sessions/{session:path}/file", response_class=HTMLResponse)
def get_session_file(
    request: Request,
    project: str,
    session: str,
    options: FromFileOptions,
    cursor: Cursor = None,
) -> Response:
    """Make one HTML file of a session: its turns, with question, tools, answer and scores.

    The file opens without a server. If it would be too large, it says what was left out.
    """
    file = SharedFile(request, options, project, view.address(project, "sessions", session))
    context = describe_session(options.reader, project, session, cursor=cursor)
    if context["session"].next_cursor:
        file.cuts.append("later turns of the session")
    return file.answer(*file.write_page(file.render("session.html", context)))


@api.get("/projects/{project:path}/run-list/file", response_class=HTMLResponse)
def get_list_file(
    request: Request, project: str, query: ListQuery, options: FromFileOptions
) -> Response:
    """Make one HTML file of the first runs of a list, as the page shows them.

    The file opens without a server. If it would be too large, it says what was left out.
    """
    page = find_roots(options.reader, query, time.time_ns())
    context = describe_list(request, query, page)
    file = SharedFile(request, options, project, context["page"])
    if page.next_cursor:
        file.cuts.append(f"runs after the first {write_number(len(page.runs))}")
    return file.answer(*file.write_page(file.render("runs_file.html", context)))


@dataclass(slots=True)
class _TraceFile:
    """The file of a trace: its tree, if it has several spans, and the pane of each span.

    Attributes:
        file: The file.
        shown: The selected run.
        spans: The tree of the trace; None for a trace with one span.
        pane: The left pane of the page; None for a trace with one span.
        contexts: What the template of a pane shows, by run ID.
        panes: The written panes by run ID, the selected run first.
        without: The parts that a pane does not have, by run ID.
        limits: What is written of a pane, by run ID.
    """

    file: SharedFile
    shown: ShownRun
    spans: SpanTree | None
    pane: TracePane | None
    contexts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    panes: dict[str, str] = field(default_factory=dict)
    without: dict[str, frozenset[str]] = field(default_factory=dict)
    limits: dict[str, PartLimits] = field(default_factory=dict)

    def answer(self) -> Response:
        """Make the file: everything if it fits, otherwise with cuts in a fixed order."""
        file, own = self.file, self.shown.run
        inner = [] if self.pane is None else self._find_inner(self.pane)
        file.runs = frozenset({own.run_id, *(run.run_id for run in inner)})
        self.contexts[own.run_id] = self._describe(self.shown)
        for run in inner:
            self.contexts[run.run_id] = self._describe(
                replace(self.shown, run=run, series=self._read_series(run))
            )
        top = find_top(self.pane) if self.pane is not None else None
        page = dict(self.contexts[own.run_id]) | {"pane": self.pane, "top": top}
        title, main = file.write_page(file.render("run.html", page), MOST_FILE_BYTES // 2)
        for run_id in self.contexts:
            self._write(run_id)
        number = 1 if self.spans is None else len(self.spans.nodes)
        text = (
            min(max(_SMALL_TRACE_BYTES, _SPAN_BYTES * number), MOST_FILE_BYTES) - file.frame_bytes
        )
        self._cut(text - count_text(main), MOST_FILE_BYTES - file.frame_bytes - len(main.encode()))
        return file.answer(
            title, main.replace('<section id="spans"></section>', "".join(self.panes.values()))
        )

    def _find_inner(self, pane: TracePane) -> list[Run]:
        """Read the runs of the tree's rows, without the selected one, in the order of the rows."""
        wanted: defaultdict[str, list[str]] = defaultdict(list)
        order = []
        for row in pane.rows:
            if isinstance(row, TreeRow) and not row.is_group and row.node is not pane.current:
                span = row.node.span
                wanted[span.project].append(span.run_id)
                order.append(span.run_id)
        read: dict[str, Run] = {}
        for project, run_ids in wanted.items():
            for first in range(0, len(run_ids), _READ_SPANS):
                part = run_ids[first : first + _READ_SPANS]
                read |= runs.find_present_runs(
                    self.file.options.reader, project, part, self.shown.now_ns
                )
        return [read[run_id] for run_id in dict.fromkeys(order) if run_id in read]

    def _read_series(self, run: Run) -> "list[LoggedMetric]":
        if not run.metrics:
            return []
        reader, now_ns = self.file.options.reader, self.shown.now_ns
        return [*runs.find_run_with_series(reader, run.run_id, run.project, now_ns=now_ns)[1]]

    def _describe(self, shown: ShownRun) -> dict[str, Any]:
        """Find what the right pane shows about a run."""
        return describe_run(
            self.file.request,
            self.file.options.reader,
            shown.run.project,
            shown,
            spans=self.spans,
            forms=PageForms(),
            is_one_of_many=shown is not self.shown,
        )

    def _write(self, run_id: str) -> None:
        """Write the pane of a run."""
        context = dict(self.contexts[run_id])
        context |= {"omitted": self.without.get(run_id, frozenset()), "is_alone": self.pane is None}
        limits = self.limits.setdefault(run_id, PartLimits())
        limits.left_rows = limits.left_images = 0
        html = self.file.render("span_pane.html", context)
        self.panes[run_id] = self.file.write_part(html, limits, has_ids=False)

    def _cut(self, text_bytes: int, all_bytes: int) -> None:
        """Leave out attributes, inputs and outputs, rows of tables and images, until all fit.

        `text_bytes` limits the panes without their images, `all_bytes` with them.
        """

        def shorten(parts: frozenset[str]) -> Callable[[str], None]:
            return lambda run_id: self.without.update({run_id: parts})

        def limit(run_id: str) -> None:
            self.limits[run_id].rows = FEW_ROWS

        def hide(run_id: str) -> None:
            self.limits[run_id].images = False

        own, *inner = self.panes
        cut = self._cut_largest(
            self.panes, text_bytes, count_text, shorten(frozenset({"attributes"}))
        )
        if cut:
            self.file.cuts.append(f"attributes of {write_count(cut, 'span')}")
        cut = self._cut_largest(
            inner, text_bytes, count_text, shorten(frozenset({"attributes", "io"}))
        )
        if cut:
            self.file.cuts.append(f"inputs and outputs of {write_count(cut, 'span')}")
        self._cut_largest(self.panes, text_bytes, count_text, limit)
        self._cut_largest(self.panes, all_bytes, _count_bytes, hide)
        left = self._cut_largest(inner, text_bytes, count_text, None)
        if left:
            self.file.cuts.append(write_count(left, "span"))
        self._cut_largest(
            [own], text_bytes, count_text, lambda key: self._end(key, text_bytes // 2)
        )
        self.file.cuts += describe_cuts([*self.limits.values()])

    def _end(self, run_id: str, chars: int) -> None:
        self.limits[run_id].chars = max(chars, 0)

    def _cut_largest(
        self,
        run_ids: Iterable[str],
        most: int,
        measure: Callable[[str], int],
        shorten: Callable[[str], None] | None,
    ) -> int:
        """Write the largest panes in a shorter form until all fit. Return how many were shortened.

        Without `shorten`, whole panes are left out.
        """
        sizes = {run_id: measure(pane) for run_id, pane in self.panes.items()}
        total, number = sum(sizes.values()), 0
        for run_id in sorted(run_ids, key=lambda run_id: -sizes[run_id]):
            if total <= most:
                break
            if shorten is None:
                self.panes[run_id] = ""
            else:
                shorten(run_id)
                self._write(run_id)
            total += measure(self.panes[run_id]) - sizes[run_id]
            number += 1
        return number


def _count_bytes(html: str) -> int:
    return len(html.encode())
