"""Two traces side by side: their steps aligned by kind and name, and what differs."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.runs import find as runs
from otel_ml_collector.runs.answers import Run, RunSummary
from otel_ml_collector.runs.traces import find_trace
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.traces.trace_pane import TraceAmounts, choose_amounts, read_tree
from otel_ml_collector.traces.trace_sentence import SentenceFacts, find_trace_facts
from otel_ml_collector.traces.tree import SpanTree, TreeSpan, list_below
from otel_ml_collector.web import view
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.previews import write_differences
from otel_ml_collector.web.render import PageRoute, python_call, show_page

router = APIRouter(include_in_schema=False, route_class=PageRoute)

# Steps of each trace that are aligned.
_ALIGNED: Final = 500
# Times differ if one is this many times the other, and if that is this share of the trace.
_SLOWER: Final = 1.5
_LEAST_PART: Final = 0.01
_COSTLIER: Final = 1.1
_CANDIDATES: Final = 9
_COMPARED_TRACES: Final = 2


@dataclass(frozen=True, slots=True)
class ComparedTrace:
    """One side of a comparison of two traces."""

    letter: str
    run: Run
    tree: SpanTree
    facts: SentenceFacts
    summaries: Mapping[str, RunSummary]

    def summary(self, node: TreeSpan) -> RunSummary | None:
        """Return input and output of a span; None if they were not read."""
        return self.summaries.get(node.span.run_id)


@dataclass(frozen=True, slots=True)
class StepPair:
    """A step that both traces have, or only one of them.

    Attributes:
        node: The step in the first trace that has it.
        left, right: The spans; None if the trace does not have the step.
        level: Depth of the step in its trace, from 1.
        differs: What differs between the two: input, output, outcome, time or cost.
    """

    node: TreeSpan
    left: TreeSpan | None
    right: TreeSpan | None
    level: int
    differs: Sequence[str] = ()


def align_steps(left: ComparedTrace, right: ComparedTrace) -> list[StepPair]:
    """Align the steps of two traces by depth, kind and name, in the order of both.

    Only the first 500 spans of each trace are aligned.
    """
    sides = [_list_steps(side.tree) for side in (left, right)]
    keys = [[(level, node.span.kind, node.span.name) for node, level in side] for side in sides]
    pairs: list[StepPair] = []
    matcher = SequenceMatcher(None, keys[0], keys[1], autojunk=False)
    for tag, from_left, to_left, from_right, to_right in matcher.get_opcodes():
        if tag == "equal":
            for (one, level), (other, _) in zip(
                sides[0][from_left:to_left], sides[1][from_right:to_right], strict=True
            ):
                differs = find_differences(left, right, one, other)
                pairs.append(StepPair(one, one, other, level, differs))
            continue
        pairs += [StepPair(node, node, None, level) for node, level in sides[0][from_left:to_left]]
        pairs += [
            StepPair(node, None, node, level) for node, level in sides[1][from_right:to_right]
        ]
    return pairs


def _list_steps(tree: SpanTree) -> list[tuple[TreeSpan, int]]:
    """List the first spans of a trace, each with its depth."""
    levels: dict[int, int] = {}
    ordered = list_below(tree.tops)
    for node in ordered:
        levels[id(node)] = levels[id(node.parent)] + 1 if node.parent is not None else 1
    return [(node, levels[id(node)]) for node in ordered[:_ALIGNED]]


def find_differences(
    left: ComparedTrace, right: ComparedTrace, one: TreeSpan, other: TreeSpan
) -> list[str]:
    """Find what differs between a step of one trace and the same step of another."""
    differs: list[str] = []
    first, second = left.summary(one), right.summary(other)
    if first is not None and second is not None:
        differs += ["input"] if first.inputs != second.inputs else []
        differs += ["output"] if (first.outputs or "") != (second.outputs or "") else []
    differs += ["outcome"] if one.span.outcome != other.span.outcome else []
    length_ms = max(left.tree.length_ms, right.tree.length_ms)
    if _is_apart(one.span.length_ms, other.span.length_ms, _SLOWER, _LEAST_PART * length_ms):
        differs.append("time")
    if _is_apart(one.cost or 0.0, other.cost or 0.0, _COSTLIER, 0.0):
        differs.append("cost")
    return differs


def _is_apart(one: float, other: float, times: float, least: float) -> bool:
    low, high = sorted((one, other))
    return high > times * low and high - low > least


@router.get("/projects/{project:path}/trace-pair", response_class=FramedPage)
def show_trace_pair(
    request: Request,
    reader: FromReader,
    project: str,
    of: Annotated[list[str], Query(max_length=20)],
    *,
    is_all: Annotated[bool, Query(alias="all")] = False,
) -> Response:
    """Show two traces side by side, each given by one of its runs."""
    if len(of) != _COMPARED_TRACES or len({*of}) != _COMPARED_TRACES:
        raise BadInput(f"of: expected two different runs, found {len(of)}", "of")
    now_ns = time.time_ns()
    left, right = (
        _read_side(reader, project, letter, run_id.strip().rpartition("/")[2], now_ns)
        for letter, run_id in zip("AB", of, strict=True)
    )
    pairs = align_steps(left, right)
    shown = pairs if is_all else [pair for pair in pairs if pair.differs or not _is_common(pair)]
    return show_page(
        request,
        "trace_pair.html",
        {
            "project": project,
            "sides": [left, right],
            "pairs": shown,
            "total": len(pairs),
            "only": [
                sum(pair.right is None for pair in pairs),
                sum(pair.left is None for pair in pairs),
            ],
            "is_all": is_all,
            "is_cut": max(len(side.tree.nodes) for side in (left, right)) > _ALIGNED,
            "amounts": _choose_amounts(left, right),
            "write_differences": write_differences,
            "api": view.api_address("traces", left.run.trace_id),
            "python": python_call("trace", left.run.trace_id),
        },
    )


def _is_common(pair: StepPair) -> bool:
    return pair.left is not None and pair.right is not None


def _choose_amounts(left: ComparedTrace, right: ComparedTrace) -> TraceAmounts:
    longer = max(left, right, key=lambda side: side.tree.length_ms)
    return choose_amounts(longer.tree)


def _read_side(
    reader: Reader, project: str, letter: str, run_id: str, now_ns: int
) -> ComparedTrace:
    run = runs.find_run(reader, run_id, project, now_ns=now_ns)
    page = runs.TracePage(limit=_ALIGNED)
    trace = find_trace(reader, run.trace_id, now_ns=now_ns, page=page)
    tree, _ = read_tree(reader, trace, now_ns, run.trace_id)
    summaries = {summary.run_id: summary for summary in trace.runs}
    return ComparedTrace(letter, run, tree, find_trace_facts(tree), summaries)


@router.get("/projects/{project:path}/runs/{run_id}/others")
def show_others(request: Request, reader: FromReader, project: str, run_id: str) -> Response:
    """Show the newest other runs of the same name, to compare their traces."""
    now_ns = time.time_ns()
    run = runs.find_run(reader, run_id, project, now_ns=now_ns)
    where = f"model == {quoted(run.model)}" if run.model else f"name == {quoted(run.name)}"
    query = runs.RunsQuery(project=project, where=where, limit=_CANDIDATES)
    others = runs.find_runs(reader, query, now_ns).runs
    context = {
        "project": project,
        "run": run,
        "others": [other for other in others if other.trace_id != run.trace_id],
    }
    return show_page(request, "trace_others.html", context)
