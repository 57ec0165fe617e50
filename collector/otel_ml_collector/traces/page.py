"""The page of a run: its trace as a tree on a time axis, its payload and all else."""

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from otel_ml import attributes as names
from otel_ml.records import LABELS, Evaluation, Inside, WorstScore
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.artifacts.page import lay_out as lay_out_artifacts
from otel_ml_collector.curves.plots import make_plots
from otel_ml_collector.errors import BadInput, Missing
from otel_ml_collector.evaluations.datasets import find_datasets_of_run
from otel_ml_collector.filter.grammar import step_into
from otel_ml_collector.ground_truth.target import TARGETS, make_target
from otel_ml_collector.mapping.dialects.gen_ai_events import CONTENT_EVENTS
from otel_ml_collector.mapping.dialects.shape import SHAPE
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.runs import find as runs
from otel_ml_collector.runs.amounts import explain_price, find_unread
from otel_ml_collector.runs.answers import (
    Run,
    RunSummary,
    SpanOutline,
    Trace,
    add_up,
    has_tokens,
    is_score,
)
from otel_ml_collector.runs.find import cursor_of
from otel_ml_collector.runs.roots import find_inside, sum_up
from otel_ml_collector.runs.traces import (
    count_children,
    find_extent,
    find_judge_calls,
    find_outline,
    find_trace,
    length_ms,
    outline_of,
)
from otel_ml_collector.same_calls import CALLS
from otel_ml_collector.services import find_service
from otel_ml_collector.settings.table import Settings
from otel_ml_collector.store.documents import list_documents
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.runs import find_key
from otel_ml_collector.traces.clock_skew import ClockNote, find_clock_notes
from otel_ml_collector.traces.conversation import find_conversation, finish_reason
from otel_ml_collector.traces.critical_path import (
    SLOW_MS,
    LongSpan,
    find_long_spans,
    find_slow,
    find_usual_ms,
    group_by_parent,
)
from otel_ml_collector.web import view
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.web.view import State, read_state
from otel_ml_collector.windows import Window
from otel_ml_collector.wording import duration

router = APIRouter(include_in_schema=False, route_class=PageRoute)

MAX_ROWS: Final = 500
_FORM: Final = 20
_CHILDREN: Final = 100
_PLOTS: Final = 8
_VALUES: Final = 40
_NO_COUNTS: Final[Mapping[str, int]] = {}
# A conversation shows its provider elsewhere.
_CONVERSATION_LABELS: Final = {"provider": "", "provider_model": "Model"}
_SHAPE_FACT: Final = ("Dialect", "unknown, read by its shape")
# In a long trace, a run beyond the first rows is shown with this many parents and siblings.
_PARENTS: Final = 20
_SIBLINGS: Final = 20


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of the waterfall: a run, its depth in the tree, and where its bar starts and ends.

    Attributes:
        level: Depth of the run in the tree; the first span of a trace has 1.
        is_parent: Whether the run has children, even if they are not loaded yet.
        x, width: Start and length of the bar, in percent of the duration of the trace.
    """

    run: RunSummary
    level: int
    is_parent: bool
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Rest:
    """A row of the waterfall that represents children of a run that are not loaded yet.

    Attributes:
        parent: The run whose children are not loaded yet.
        level: Depth of the children in the tree; the first span of a trace has 1.
        count: Number of children that are not loaded; None if unknown.
        cursor: The child after which loading continues. None to begin with the first child.
        until: The child before which loading ends. None to load up to the last child.
    """

    parent: RunSummary
    level: int
    count: int | None
    cursor: str | None
    until: str | None = None


@dataclass(frozen=True, slots=True)
class Near:
    """The run whose page is shown, with its parents and the siblings that follow it.

    Used for a long trace, if the run is not among the rows that are loaded first.

    Attributes:
        runs: The run, its parents and siblings, oldest first.
        is_last: Whether `runs` includes the last sibling, so that no more siblings can be loaded.
    """

    runs: Sequence[RunSummary]
    is_last: bool = True


NO_NEAR: Final = Near(())


@dataclass(frozen=True, slots=True)
class Axis:
    """The time that all bars of a trace share."""

    start_ns: int
    length_ms: float

    def place(self, run: RunSummary, level: int, now_ns: int, *, is_parent: bool) -> Bar:
        """Place the bar of a run."""
        return Bar(
            run=run,
            level=level,
            is_parent=is_parent,
            x=(run.start_ns - self.start_ns) / 1e4 / self.length_ms,
            width=100 * length_ms(run, now_ns) / self.length_ms,
        )


@dataclass(frozen=True, slots=True)
class Waterfall:
    """The rows that are shown, and the counts of the whole trace.

    Attributes:
        total: Spans in the trace.
        errors: Failed spans.
        unfinished: Spans without an end.
        orphans: Spans whose parent is missing: late, lost, or not readable with this access.
    """

    bars: Sequence[Bar | Rest]
    axis: Axis
    total: int
    errors: int
    unfinished: int
    orphans: int


def lay_out(
    runs: Sequence[RunSummary],
    now_ns: int,
    cursor: str | None = None,
    counts: Mapping[str, int] = _NO_COUNTS,
    *,
    extent: Window | None = None,
    near: Near = NO_NEAR,
) -> Waterfall:
    """Order the spans of a trace as a tree and compute the positions of their bars.

    At most 500 spans get a bar, plus those in `near`. The bar of a running span ends now. The bar
    of a crashed span ends when its process was last active.

    Args:
        runs: Runs of one trace, oldest first.
        now_ns: The current time.
        cursor: If `runs` are only the first runs of the trace, the position after the last of them.
        counts: Number of children of each run, by run ID. If some of the children are not in
            `runs`, an extra row takes their place.
        extent: When the whole trace began and ended; None if all of its runs are in `runs`.
        near: The run whose page is shown, with the runs around it, if it is not among `runs`.
    """
    shown = [*runs, *near.runs]
    children = group_by_parent(shown)
    near_ids = {run.run_id for run in near.runs}
    most_rows = MAX_ROWS + len(near_ids)
    axis = _axis(shown, now_ns, extent)
    rows: list[Bar | Rest] = []
    seen: set[tuple[str, int]] = set()
    # If several spans share an ID, children belong to the span that began last. If these are a
    # client's and a server's span, that is the server's.
    last_ns = {run.run_id: run.start_ns for run in sorted(shown, key=attrgetter("start_ns"))}
    # Spans that are each other's parents have no root above them. They come at the end.
    rest = [run for parent, below in children.items() if parent for run in below]
    waiting: list[tuple[RunSummary | Rest, int]] = [
        (run, 1) for run in [*children[None], *rest][::-1]
    ]
    while waiting:  # not recursive: a trace may be deeper than Python's stack
        span, level = waiting.pop()
        if isinstance(span, Rest):
            rows.append(span)
            continue
        if (span.run_id, span.start_ns) in seen or len(seen) >= most_rows:
            continue
        seen.add((span.run_id, span.start_ns))
        is_last = span.start_ns == last_ns[span.run_id]
        below = children.get(span.run_id, []) if is_last else []
        missing = counts.get(span.run_id, 0) - len(below) if is_last else 0
        rows.append(axis.place(span, level, now_ns, is_parent=bool(below) or missing > 0))
        gap = next((child for child in below if child.run_id in near_ids), None)
        after = None if span.run_id in near_ids else cursor
        if missing > 0 and gap is None:
            waiting.append((Rest(span, level + 1, missing, after), level + 1))
        elif missing > 0 and not near.is_last:
            waiting.append((Rest(span, level + 1, None, cursor_of(below[-1])), level + 1))
        for child in reversed(below):
            waiting.append((child, level + 1))
            if missing > 0 and child is gap:
                waiting.append((Rest(span, level + 1, None, after, cursor_of(child)), level + 1))
    return Waterfall(
        bars=rows,
        axis=axis,
        total=len(runs),
        errors=sum(run.outcome == "error" for run in runs),
        unfinished=sum(run.outcome in ("running", "crashed") for run in runs),
        orphans=sum(
            run.parent_run_id is not None and run.run_id not in near_ids for run in children[None]
        ),
    )


def lay_out_below(
    runs: Sequence[RunSummary], counts: Mapping[str, int], level: int, axis: Axis, now_ns: int
) -> list[Bar | Rest]:
    """Place the runs below a run, each with a row in place of its own children."""
    rows: list[Bar | Rest] = []
    for run in runs:
        below = counts.get(run.run_id, 0)
        rows.append(axis.place(run, level, now_ns, is_parent=below > 0))
        if below:
            rows.append(Rest(run, level + 1, below, None))
    return rows


def _axis(runs: Sequence[RunSummary], now_ns: int, extent: Window | None) -> Axis:
    starts = [run.start_ns for run in runs]
    ends = [run.start_ns + int(length_ms(run, now_ns) * 1e6) for run in runs]
    if extent is not None:
        starts.append(extent.start_ns)
        ends.append(extent.end_ns)
    start_ns, end_ns = min(starts, default=0), max(ends, default=0)
    return Axis(start_ns, max((end_ns - start_ns) / 1e6, 1e-6))


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and cost of a span, as its row in the trace shows them.

    Attributes:
        tokens: Input and output tokens; None if unknown.
        cost: US dollars; None if unknown.
        is_sum: Whether the numbers are the sum of the model calls below the span.
        is_least: Whether a model call below reports no tokens, so that the real sum can be higher.
        is_again: Whether the span repeats a call that another span also recorded. The numbers then
            count only in the other span.
    """

    tokens: int | None
    cost: float | None
    is_sum: bool = False
    is_least: bool = False
    is_again: bool = False


def find_usages(runs: Sequence[RunSummary], outline: Sequence[SpanOutline]) -> dict[str, Usage]:
    """Find tokens and cost of each run of a trace, by run ID. Empty if no run has tokens or cost.

    A call of a model has its own numbers. Any other run has the sum of the model calls below it. A
    call that was recorded twice counts once.

    Args:
        runs: All runs of the trace, at most 500.
        outline: The same runs in short form, which shows the tree.
    """
    if not any(has_tokens(run.tokens) or run.cost is not None for run in runs):
        return {}
    children = group_by_parent(outline)
    stretches = {span.run_id: span for span in outline}
    usages: dict[str, Usage] = {}
    for run in runs:
        says = Inside(0, run.tokens, run.cost, is_least=False)
        is_call = run.kind in CALLS
        if not is_call:
            says = sum_up(run.run_id, _find_below(stretches[run.run_id], children))
        elif not run.record_of and run.counted is not None:
            says = Inside(0, run.counted.tokens, run.counted.cost, is_least=False)
        used = says.tokens
        tokens = (used.input or 0) + (used.output or 0) if has_tokens(used) else None
        if tokens is not None or says.cost is not None:
            is_again = bool(run.record_of)
            usages[run.run_id] = Usage(tokens, says.cost, not is_call, says.is_least, is_again)
    return usages


def _find_below(
    span: SpanOutline, children: Mapping[str | None, Sequence[SpanOutline]]
) -> Sequence[SpanOutline]:
    """Return a span and all spans below it."""
    facts = {span.run_id: span}
    waiting = [span]
    while waiting:  # not recursive: a trace may be deeper than Python's stack
        for child in children.get(waiting.pop().run_id, ()):
            if child.run_id not in facts:
                facts[child.run_id] = child
                waiting.append(child)
    return list(facts.values())


def _list_facts(run: Run, *, is_conversation: bool) -> list[tuple[str, str]]:
    """List the labelled fields of a run, except those that its conversation shows."""
    labels = LABELS | (_CONVERSATION_LABELS if is_conversation else {})
    facts = [
        (label, value) for name, label in labels.items() if label and (value := getattr(run, name))
    ]
    return [*facts, _SHAPE_FACT] if run.dialect == SHAPE else facts


def find_silent(runs: Sequence[RunSummary]) -> list[RunSummary]:
    """Find the calls of models without tokens in any of their records."""
    above = {run.parent_run_id for run in runs if run.kind in CALLS}
    return [
        run
        for run in runs
        if run.kind == "model" and run.run_id not in above and not run.record_of
        if (run.provider or run.provider_model) and run.counted is None
        if not has_tokens(run.tokens)
    ]


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark next to the name of a span: a few words, and what they mean."""

    text: str
    why: str
    is_slow: bool = False


def mark(
    long_spans: Sequence[LongSpan], slow: Collection[str], notes: Mapping[str, ClockNote]
) -> Mapping[str, Sequence[Mark]]:
    """Make the marks of spans, by run ID."""
    marks: defaultdict[str, list[Mark]] = defaultdict(list)
    for span in long_spans:
        if span.run_id in slow:
            waited = duration(span.wait_ms)
            why = f"this span alone, without the calls inside it, delayed the trace by {waited}"
            marks[span.run_id].append(Mark(f"slow {span.percent}", why, is_slow=True))
    for run_id, note in notes.items():
        marks[run_id].append(Mark(note.short, note.what))
    return marks


@dataclass(frozen=True, slots=True)
class ShownTruth:
    """Ground truth of a run, next to what the run predicted.

    Attributes:
        output: The predicted value. If the user has defined a prediction target, this is the part
            of the run's output that the target selects. Otherwise, it is the output field with the
            same name as the ground truth, such as `label`. If there is no such field, it is the
            whole output.
        is_newest: Whether this is the newest ground truth with its name; older ones were replaced.
    """

    evaluation: Evaluation
    output: Any
    is_newest: bool


def find_truths(reader: Reader, run: Run) -> list[ShownTruth]:
    """Find the ground truth of a run: current values first, the newest first."""
    documents = list_documents(reader, run.project, TARGETS) if run.truth else []
    paths = {
        target.rule.truth: target.rule.path
        for target in map(make_target, documents)
        if target.model == run.model
    }
    truths: list[ShownTruth] = []
    held: set[str] = set()
    for evaluation in reversed(run.evaluations):
        if evaluation.actual is None:
            continue
        name, outputs = evaluation.judge, run.outputs
        if name in paths:
            output = step_into(outputs, paths[name])
        else:
            output = outputs[name] if isinstance(outputs, dict) and name in outputs else outputs
        is_newest = name not in held and evaluation.actual == run.truth[name]
        held |= {name} if is_newest else set()
        truths.append(ShownTruth(evaluation, output, is_newest))
    return sorted(truths, key=lambda entry: not entry.is_newest)


def _find_neighbours(reader: Reader, run: Run, now_ns: int) -> list[str | None]:
    """Find the newer and the older neighbour of a run in the list."""
    return [
        runs.find_neighbour(reader, run, now_ns, newest_first=newest_first)
        for newest_first in (False, True)
    ]


@dataclass(frozen=True, slots=True)
class Membership:
    """The experiment of a run, and the item of its data set."""

    experiment: str
    name: str
    dataset: str
    item: str


def _find_membership(
    reader: Reader, run: Run, trace: Sequence[RunSummary], now_ns: int
) -> Membership | None:
    """Find the experiment of a run, or of a run in its trace."""
    match = next(
        (part for part in (run, *trace) if part.experiment and part.project == run.project), None
    )
    if match is None:
        return None
    name = "an experiment"
    with suppress(Missing, BadInput):  # its run is late, deleted, or has an invalid ID
        stored_run = runs.find_run(reader, match.experiment, run.project, now_ns=now_ns)
        name = str(stored_run.attributes.get(names.EXPERIMENT_NAME) or stored_run.name)
    return Membership(match.experiment, name, match.dataset, match.item)


@dataclass(frozen=True, slots=True)
class InsideFacts:
    """Facts about the runs below a run in the trace tree, for the page of that run.

    Attributes:
        inside: Totals of the run and all calls inside it, such as tokens and cost.
        scores: The worst score that each judge gave, by name of the judge. A judge is left out if
            its worst score is that of the run itself.
        names: For each run of the trace, by run ID: its model, or its name if it has no model.
    """

    inside: Inside
    scores: Mapping[str, WorstScore]
    names: Mapping[str, str]


def _find_inside_facts(reader: Reader, run: Run, trace: Trace) -> InsideFacts | None:
    """Find what a run shows about the runs inside it; None if nothing is below it."""
    if not trace.truncated and all(item.parent_run_id != run.run_id for item in trace.runs):
        return None
    inside = find_inside(reader, [run]).get(run.run_id)
    if inside is None:
        return None
    scores = {judge: score for judge, score in inside.scores.items() if score.run_id != run.run_id}
    names = {run.run_id: run.model or run.name for run in trace.runs}
    return InsideFacts(inside, scores, names)


@router.get("/projects/{project:path}/runs/{run_id}")
def show_run(
    *,
    request: Request,
    reader: FromReader,
    project: str,
    run_id: str,
    input_form: Annotated[str, Query(alias="input", max_length=_FORM)] = "",
    output_form: Annotated[str, Query(alias="output", max_length=_FORM)] = "",
    by: Literal["step", "time"] = "step",
) -> Response:
    """Show a run with everything that is known about it."""
    now_ns = time.time_ns()
    keyed = find_key(reader, run_id.partition("-")[0])
    run, series = runs.find_run_with_series(reader, run_id, project, now_ns=now_ns, found=keyed)
    neighbours = reader.ahead(_find_neighbours, run, now_ns)
    page = runs.TracePage(limit=MAX_ROWS)
    trace = find_trace(reader, run.trace_id, now_ns=now_ns, page=page, found=keyed)
    kinds = find_record_kinds(reader, project)
    view_state = read_state(request)
    inside_facts = _find_inside_facts(reader, run, trace)
    chat = find_conversation(run, trace.runs, view_state.first("conversation"))
    # Links into the input or the output show them as they were sent.
    is_raw = any(name == "raw" or name.startswith(("input", "output")) for name in view_state.given)
    state = {"input": input_form, "output": output_form, "by": "" if by == "step" else by}
    if chat is not None and is_raw:
        state["raw"], view_state = "1", State({**view_state.given, "raw": "1"})
    curves = [curve for curve in series if curve.count > 1]
    values = [curve for curve in series if curve.count == 1]
    context = {
        "project": project,
        "run": run,
        "forms": state,
        "here": lambda key, form: view.address(project, "runs", run_id, **state | {key: form}),
        "by": by,
        # Events with the input and output are shown as such.
        "lines": [line for line in run.logs if line.event not in CONTENT_EVENTS],
        **_lay_out(reader, run, trace, now_ns),
        "is_cut": trace.truncated,
        "hidden_parents": len(trace.hidden_parents),
        "talk": chat,
        "inside": inside_facts,
        "facts": _list_facts(run, is_conversation=chat is not None),
        "state": view_state,
        "is_raw": is_raw,
        "reason": finish_reason(run),
        "unread": find_unread(run),
        "priced": explain_price(run, find_service(request, Prices)),
        "link": _link(find_service(request, Settings).trace_url, run.trace_id),
        "datasets": find_datasets_of_run(reader, project, run_id) if kinds.made_items else [],
        "membership": _find_membership(reader, run, trace.runs, now_ns),
        "judge_calls": (
            find_judge_calls(reader, project, run_id)
            if run.evaluations and kinds.judge_calls
            else []
        ),
        "truths": find_truths(reader, run),
        "scores": [
            evaluation
            for evaluation in run.evaluations
            if is_score(evaluation) or evaluation.source == "agent"
        ],
        "series": len(series),
        "plots": make_plots(project, {"run_id": run_id}, curves[:_PLOTS]),
        "values": make_plots(project, {"run_id": run_id}, values[:_VALUES]),
        "artifacts": lay_out_artifacts(request, reader, project, run.artifacts),
        "newer": neighbours.result()[0],
        "older": neighbours.result()[1],
        "api": view.api_address("projects", project, "runs", run_id),
        "python": python_call("run", run_id),
    }
    return show_page(request, "run.html", context)


class Below(BaseModel):
    """Query parameters that choose which rows below a span are loaded, and how they are drawn.

    Attributes:
        cursor: The rows after this run are loaded; None to load from the first child.
        until: The rows before this run are loaded; None to load up to the last child.
        level: Depth of the rows in the tree; the first span of a trace has 1.
        start_ns: Start of the time axis that all rows share, in nanoseconds since 1970.
        length_ms: Length of that axis.
    """

    cursor: str | None = Field(None, max_length=400)
    until: str | None = Field(None, max_length=400)
    level: int = Field(1, ge=1)
    start_ns: int
    length_ms: float = Field(gt=0)


@router.get("/projects/{project:path}/runs/{run_id}/spans")
def show_spans(
    request: Request,
    reader: FromReader,
    project: str,
    run_id: str,
    below: Annotated[Below, Query()],
) -> Response:
    """Show the spans below a span, as rows of the trace."""
    now_ns = time.time_ns()
    run = runs.find_run(reader, run_id, project, now_ns=now_ns)
    page = runs.TracePage(_CHILDREN, below.cursor, run_id)
    axis = Axis(below.start_ns, below.length_ms)
    context: dict[str, Any] = {"axis": axis, "current": None, "usages": {}}
    try:
        trace = find_trace(reader, run.trace_id, now_ns=now_ns, page=page)
    except Missing:  # nothing is below it
        return show_page(request, "spans.html", context | {"rows": [], "marks": {}})
    shown = _cut_until(trace.runs, below.until)
    counts = count_children(reader, run.trace_id, [child.run_id for child in shown])
    rows = lay_out_below(shown, counts, below.level, axis, now_ns)
    if trace.next_cursor is not None and len(shown) == len(trace.runs):
        rows.append(Rest(run, below.level, None, trace.next_cursor, below.until))
    notes = find_clock_notes(reader, shown, [run])
    marks = mark([], (), notes)
    return show_page(request, "spans.html", context | {"rows": rows, "marks": marks})


def _cut_until(children: Sequence[RunSummary], until: str | None) -> Sequence[RunSummary]:
    """Leave out the runs from a cursor on."""
    if until is None:
        return children
    end = runs.read_cursor(until)
    return [
        child for child in children if (child.start_ns, child.run_id) < (end.start_ns, end.run_id)
    ]


@router.get("/projects/{project:path}/runs/{run_id}/outline")
def show_outline(request: Request, reader: FromReader, project: str, run_id: str) -> Response:
    """Show the longest spans and the sums of a long trace, as a part that is loaded later."""
    now_ns = time.time_ns()
    run = runs.find_run(reader, run_id, project, now_ns=now_ns)
    outline = find_outline(reader, run.trace_id)
    long_spans = find_long_spans(outline or [])
    models: dict[str, str] = {}
    for span in long_spans:
        if span.length_ms < SLOW_MS:
            with suppress(Missing, BadInput):  # deleted meanwhile, or of several projects
                found = runs.find_run(reader, span.run_id, project, now_ns=now_ns)
                models[span.run_id] = found.model
    usual_ms = find_usual_ms(reader, project, [*models.values()], now_ns)
    context = {
        "is_too_long": outline is None,
        "total": len(outline or []),
        "long_spans": long_spans,
        "slow": find_slow(long_spans, models, usual_ms),
        "totals": add_up(outline or []),
    }
    return show_page(request, "outline.html", context)


@dataclass(frozen=True, slots=True)
class TraceLink:
    """The address of a trace in another tool, and the name of its host."""

    address: str
    host: str


def _link(pattern: str, trace_id: str) -> TraceLink | None:
    """Make the link that the settings name, if any."""
    if not pattern:
        return None
    return TraceLink(pattern.replace("{trace_id}", trace_id), urlsplit(pattern).netloc)


def _lay_out(reader: Reader, run: RunSummary, trace: Trace, now_ns: int) -> dict[str, Any]:
    """Lay out a trace, or its first runs and those around the run of the page."""
    if trace.next_cursor is None:
        notes = find_clock_notes(reader, trace.runs)
        outline = outline_of(trace.runs, now_ns)
        long_spans = find_long_spans(outline)
        models = {item.run_id: item.model for item in trace.runs}
        short = [models.get(span.run_id, "") for span in long_spans if span.length_ms < SLOW_MS]
        slow = find_slow(long_spans, models, find_usual_ms(reader, run.project, short, now_ns))
        usages = find_usages(trace.runs, outline)
        silent = find_silent(trace.runs) if any(usage.is_least for usage in usages.values()) else []
        return {
            "trace": lay_out(trace.runs, now_ns),
            "clocks": [*notes.values()],
            "marks": mark(long_spans, slow, notes),
            "long_spans": long_spans,
            "slow": slow,
            "totals": add_up(outline),
            "usages": usages,
            "silent": silent,
        }
    near = _find_near(reader, run, trace, now_ns)
    shown = [*trace.runs, *near.runs]
    notes = find_clock_notes(reader, shown)
    counts = count_children(reader, run.trace_id, [item.run_id for item in shown])
    extent = find_extent(reader, run.trace_id)
    return {
        "trace": lay_out(trace.runs, now_ns, trace.next_cursor, counts, extent=extent, near=near),
        "clocks": [*notes.values()],
        "marks": mark([], (), notes),
        "usages": {},
    }


def _find_near(reader: Reader, run: RunSummary, trace: Trace, now_ns: int) -> Near:
    """Find the parents and next siblings of a run that is beyond the first runs of its trace."""
    known = {item.run_id for item in trace.runs}
    if run.run_id in known:
        return NO_NEAR
    parents: list[RunSummary] = []
    above = run.parent_run_id
    while above and above not in known and len(parents) < _PARENTS:
        try:
            parent = runs.find_run(reader, above, now_ns=now_ns)
        except (Missing, BadInput):  # late, deleted, or of several projects
            break
        parents.append(parent)
        above = parent.parent_run_id
    if run.parent_run_id is None:
        return Near([*reversed(parents), run])
    page = runs.TracePage(_SIBLINGS, runs.cursor_of(run), run.parent_run_id)
    below = find_trace(reader, run.trace_id, now_ns=now_ns, page=page)
    near = sorted([*parents, run, *below.runs], key=attrgetter("start_ns"))
    return Near(near, is_last=below.next_cursor is None)
