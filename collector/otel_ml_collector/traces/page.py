"""The page of a run: its trace as a tree on a time axis, its payload and all else."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request
from pydantic import Field
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
    Trace,
    is_score,
)
from otel_ml_collector.runs.roots import find_inside
from otel_ml_collector.runs.traces import (
    find_judge_calls,
    find_trace,
)
from otel_ml_collector.services import find_service
from otel_ml_collector.settings.table import Settings
from otel_ml_collector.store.documents import list_documents
from otel_ml_collector.store.facts import LoggedMetric
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.runs import find_key
from otel_ml_collector.traces.conversation import (
    find_conversation,
    find_inherited_words,
    finish_reason,
)
from otel_ml_collector.traces.steps import find_agent, find_steps
from otel_ml_collector.traces.trace_pane import TracePane, find_tree, make_pane, read_tree
from otel_ml_collector.traces.tree import SpanTree, TreeSpan, list_below
from otel_ml_collector.traces.tree_rows import TreeState, find_next_error
from otel_ml_collector.web import view
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.web.view import State, read_state

router = APIRouter(include_in_schema=False, route_class=PageRoute)

MAX_ROWS: Final = 500
_FORM: Final = 20
_PLOTS: Final = 8
_VALUES: Final = 40


def _list_facts(run: Run, *, is_conversation: bool) -> list[tuple[str, str]]:
    """List the labelled fields of a run, except those that its conversation shows."""
    # A conversation shows its provider elsewhere.
    labels = LABELS | ({"provider": "", "provider_model": "Model"} if is_conversation else {})
    facts = [
        (label, value) for name, label in labels.items() if label and (value := getattr(run, name))
    ]
    return [*facts, ("Dialect", "unknown, read by its shape")] if run.dialect == SHAPE else facts


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


class PageForms(TreeState):
    """Query parameters of the page: of the tree on the left, and of the run on the right.

    Attributes:
        input, output: How the input and the output are shown.
        by: The axis of the charts.
        tab: The open tab; None for the first that has something to show.
    """

    input: str = Field(default="", max_length=_FORM)
    output: str = Field(default="", max_length=_FORM)
    by: Literal["step", "time"] = "step"
    tab: Literal["steps", "io", "attributes"] | None = None


@router.get("/projects/{project:path}/runs/{run_id}", response_class=FramedPage)
def show_run(
    *,
    request: Request,
    reader: FromReader,
    project: str,
    run_id: str,
    forms: Annotated[PageForms, Query()],
) -> Response:
    """Show a run with everything that is known about it, next to its trace."""
    found = find_shown(reader, project, run_id)
    if found.is_alone:
        context = describe_run(request, reader, project, found, spans=None, forms=forms)
        return show_page(request, "run.html", context | {"pane": None})
    spans, is_part = read_tree(reader, found.trace, found.now_ns, found.run.trace_id)
    context = describe_run(request, reader, project, found, spans=spans, forms=forms)
    pane = make_pane(
        reader,
        spans,
        forms,
        found.run,
        now_ns=found.now_ns,
        known=found.trace.runs,
        is_part=is_part,
    )
    return show_page(request, "run.html", context | {"pane": pane, "top": find_top(pane)})


@router.get("/projects/{project:path}/runs/{run_id}/span")
def show_span(
    *,
    request: Request,
    reader: FromReader,
    project: str,
    run_id: str,
    forms: Annotated[PageForms, Query()],
) -> Response:
    """Show a run as the right pane of its trace."""
    found = find_shown(reader, project, run_id)
    spans, _ = read_tree(reader, found.trace, found.now_ns, found.run.trace_id)
    context = describe_run(request, reader, project, found, spans=spans, forms=forms)
    next_error = find_next_error(spans, spans.find(run_id))
    return show_page(
        request,
        "span.html",
        context
        | {"tree_state": forms, "next_error": next_error, "is_alone": len(spans.nodes) == 1},
    )


@router.get("/projects/{project:path}/runs/{run_id}/preview")
def show_preview(
    *,
    request: Request,
    reader: FromReader,
    project: str,
    run_id: str,
    forms: Annotated[PageForms, Query()],
) -> Response:
    """Show a run next to the list that it is in."""
    found = find_shown(reader, project, run_id)
    spans = None
    if not found.is_alone:
        spans, _ = read_tree(reader, found.trace, found.now_ns, found.run.trace_id)
    context = describe_run(
        request, reader, project, found, spans=spans, forms=forms, is_preview=True
    )
    return show_page(request, "preview.html", context | {"is_alone": False})


class RowsBelow(TreeState):
    """Query parameters that choose which rows below a row are loaded.

    Attributes:
        key: The row above them.
        level: Their depth in the tree; the top has 1.
        first: Position of the first of them among its siblings.
    """

    key: str = Field(max_length=400)
    level: int = Field(default=1, ge=1)
    first: int = Field(default=0, ge=0)


@router.get("/projects/{project:path}/runs/{run_id}/tree")
def show_tree(
    request: Request,
    reader: FromReader,
    project: str,
    run_id: str,
    tree: Annotated[TreeState, Query()],
) -> Response:
    """Show the tree of a trace in another state, as the left pane."""
    now_ns = time.time_ns()
    keyed = find_key(reader, run_id.partition("-")[0])
    run = runs.find_run(reader, run_id, project, now_ns=now_ns)
    page = runs.TracePage(limit=MAX_ROWS)
    trace = find_trace(reader, run.trace_id, now_ns=now_ns, page=page, found=keyed)
    spans, is_part = read_tree(reader, trace, now_ns, run.trace_id)
    pane = make_pane(reader, spans, tree, run, now_ns=now_ns, known=trace.runs, is_part=is_part)
    context = {
        "pane": pane,
        "run": run,
        "project": project,
        "hidden_parents": len(trace.hidden_parents),
    }
    return show_page(request, "trace_tree.html", context)


@router.get("/projects/{project:path}/runs/{run_id}/rows")
def show_rows(
    request: Request,
    reader: FromReader,
    project: str,
    run_id: str,
    below: Annotated[RowsBelow, Query()],
) -> Response:
    """Show the rows below a row of the tree."""
    now_ns = time.time_ns()
    trace_id = run_id.partition("-")[0]
    # Rows need only the outline of the trace, and not the run.
    tree, is_part = find_tree(reader, trace_id, now_ns), False
    if tree is None:
        found = find_trace(reader, trace_id, now_ns=now_ns, page=runs.TracePage(limit=MAX_ROWS))
        tree, is_part = read_tree(reader, found, now_ns, trace_id)
    own = tree.find(run_id)
    if own is None or own.span.project != project:
        raise Missing(f"There is no run {run_id[:80]!r} in the project {project[:80]!r}")
    pane = make_pane(
        reader,
        tree,
        below,
        own.span,
        now_ns=now_ns,
        known=(),
        is_part=is_part,
        below=(below.key, below.level, below.first),
    )
    return show_page(request, "tree_rows.html", {"pane": pane, "run": own.span})


@dataclass(frozen=True, slots=True)
class ShownRun:
    """A run, the first runs of its trace, and what was logged for it."""

    run: Run
    series: Sequence[LoggedMetric]
    trace: Trace
    now_ns: int

    @property
    def is_alone(self) -> bool:
        """Whether the run is the only span of its trace."""
        return self.trace.next_cursor is None and len(self.trace.runs) <= 1


def find_shown(reader: Reader, project: str, run_id: str) -> ShownRun:
    """Find a run, the first runs of its trace, and what was logged for it."""
    now_ns = time.time_ns()
    keyed = find_key(reader, run_id.partition("-")[0])
    page = runs.TracePage(limit=MAX_ROWS)
    trace_id = run_id.partition("-")[0]
    trace = reader.ahead(find_trace, trace_id, now_ns=now_ns, page=page, found=keyed)
    run, series = runs.find_run_with_series(reader, run_id, project, now_ns=now_ns, found=keyed)
    return ShownRun(run, series, trace.result(), now_ns)


def find_top(pane: TracePane) -> TreeSpan | None:
    """Find the span at the top of the tree above the selected span."""
    top = pane.current
    while top is not None and top.parent is not None:
        top = top.parent
    return top


def _find_cause(reader: Reader, node: TreeSpan | None, now_ns: int) -> Run | None:
    """Find the span inside a failed span whose error ended last: the likely cause of its failure.

    None if the span did not fail, or if nothing inside it failed.
    """
    if node is None or not node.span.has_failed or node.errors <= 1:
        return None
    inner = [
        item for item in list_below(node.children) if item.span.has_failed and item.errors == 1
    ]
    if not inner:
        return None
    cause = max(inner, key=lambda item: item.span.end_ns).span
    return runs.find_present_runs(reader, cause.project, [cause.run_id], now_ns).get(cause.run_id)


def describe_run(
    request: Request,
    reader: Reader,
    project: str,
    shown: ShownRun,
    *,
    spans: SpanTree | None,
    forms: PageForms,
    is_one_of_many: bool = False,
    is_preview: bool = False,
) -> dict[str, Any]:
    """Find everything that the right pane shows about a run.

    Args:
        request: The request of the page.
        reader: The store.
        project: The project of the page.
        shown: The run, and the first runs of its trace.
        spans: The tree of the trace; None for a trace with one span.
        forms: How the page shows the run.
        is_one_of_many: Whether the panes of all spans are shown. Then a pane has no links to the
            newer and the older run, no sums of the calls inside, and the steps of an agent only if
            the run is this agent.
        is_preview: Whether the run is shown next to a list, which has its own way to the newer and
            the older run.
    """
    run, trace, now_ns = shown.run, shown.trace, shown.now_ns
    node = spans.find(run.run_id) if spans is not None else None
    run_id = run.run_id
    neighbours = None
    if not (is_one_of_many or is_preview):
        neighbours = reader.ahead(_find_neighbours, run, now_ns)
    kinds = find_record_kinds(reader, project)
    view_state = read_state(request)
    inside_facts = None if is_one_of_many else _find_inside_facts(reader, run, trace)
    chat = find_conversation(run, trace.runs, view_state.first("conversation"))
    # Links into the input or the output show them as they were sent.
    is_raw = any(name == "raw" or name.startswith(("input", "output")) for name in view_state.given)
    state = {"input": forms.input, "output": forms.output, "by": ""}
    state["by"] = "" if forms.by == "step" else forms.by
    if is_raw:
        state["tab"], view_state = "io", State({**view_state.given, "tab": "io"})
    has_steps = node is not None and (bool(node.children) or not is_one_of_many)
    agent = find_agent(node) if has_steps else None
    agent_steps = None
    if agent is not None and node is not None and (agent is node or not is_one_of_many):
        first = view_state.first("steps")
        agent_steps = find_steps(reader, agent, node, first - 1 if first else None, now_ns)
    tab = "io" if is_raw or (chat is None and agent_steps is None) else "steps"
    curves = [curve for curve in shown.series if curve.count > 1]
    values = [curve for curve in shown.series if curve.count == 1]
    return {
        "project": project,
        "run": run,
        "forms": state,
        "here": lambda key, form: view.address(project, "runs", run_id, **state | {key: form}),
        "by": forms.by,
        # Events with the input and output are shown as such.
        "lines": [line for line in run.logs if line.event not in CONTENT_EVENTS],
        "hidden_parents": len(trace.hidden_parents),
        "is_preview": is_preview,
        "talk": chat,
        "agent_steps": agent_steps,
        "cause": _find_cause(reader, node, now_ns),
        "tab": forms.tab if forms.tab is not None and not is_raw else tab,
        "inside": inside_facts,
        "inherited": find_inherited_words(run, trace.runs),
        "facts": _list_facts(run, is_conversation=chat is not None),
        "state": view_state,
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
        "series": len(shown.series),
        "plots": make_plots(project, {"run_id": run_id}, curves[:_PLOTS]),
        "values": make_plots(project, {"run_id": run_id}, values[:_VALUES]),
        "artifacts": lay_out_artifacts(request, reader, project, run.artifacts),
        "newer": neighbours.result()[0] if neighbours else None,
        "older": neighbours.result()[1] if neighbours else None,
        "api": view.api_address("projects", project, "runs", run_id),
        "python": python_call("run", run_id),
    }


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
