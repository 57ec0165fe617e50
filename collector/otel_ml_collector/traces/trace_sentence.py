"""The facts of the sentence above a trace: what took the time, what it cost, what failed first."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.runs.answers import SpanOutline
from otel_ml_collector.traces.critical_path import find_waits
from otel_ml_collector.traces.steps import list_calls
from otel_ml_collector.traces.tree import SpanTree, TreeSpan, list_below

# Kinds of work: one call of each, and several.
_WORK: Final[Mapping[str, tuple[str, str]]] = {
    "tool": ("one tool", "tools"),
    "model": ("one model call", "model calls"),
    "retriever": ("one retrieval", "retrievals"),
    "embedding": ("one embedding", "embeddings"),
    "judge": ("one judge call", "judge calls"),
}
# A share below this says nothing about where the time went.
_LEAST_SHARE: Final = 0.2


@dataclass(frozen=True, slots=True)
class SentenceFacts:
    """What took the time of a trace, what it cost, and what failed first.

    Attributes:
        length_ms: Duration of the trace.
        share: Share of that time in one kind of work, from 0 to 1; None if no kind has a fifth.
        work: That kind, such as "tools" or "one model call".
        work_span: The span, if one span did that work; else None.
        slowest: The slowest span of that work if there are several; else None.
        errors: Number of failed spans.
        first_error: The span that failed first; None if no span failed.
        error_step: Number of the model call before that error, counted from 1, within the agent;
            None if there is no such call.
        cost: US dollars; None if unknown.
        is_least: Whether a model call reported no tokens, so that the cost can be higher.
    """

    length_ms: float
    share: float | None
    work: str
    work_span: SpanOutline | None
    slowest: SpanOutline | None
    errors: int
    first_error: SpanOutline | None
    error_step: int | None
    cost: float | None
    is_least: bool


def find_trace_facts(tree: SpanTree) -> SentenceFacts:
    """Find the facts of the sentence above a trace."""
    share, work, nodes = _find_work(tree)
    first_error = _find_first_error(tree)
    costs = [node.cost for node in tree.tops if node.cost is not None]
    return SentenceFacts(
        length_ms=tree.length_ms,
        share=share,
        work=work,
        work_span=nodes[0].span if len(nodes) == 1 else None,
        slowest=max(nodes, key=lambda node: node.span.length_ms).span if len(nodes) > 1 else None,
        errors=tree.errors,
        first_error=first_error.span if first_error else None,
        error_step=step_of(first_error) if first_error else None,
        cost=sum(costs) if costs else None,
        is_least=any(node.is_silent for node in tree.nodes),
    )


def _find_work(tree: SpanTree) -> tuple[float | None, str, list[TreeSpan]]:
    """Find the kind of work that the trace waited for most, its share, and its spans.

    Time inside a tool counts for the tool, and so on: each span counts for the outermost tool,
    model, retriever, embedding or judge around it. Without any of these, the work is the function
    that the trace waited for most.
    """
    waits = find_waits([node.span for node in tree.nodes])
    doer: dict[int, TreeSpan] = {}
    by_work: Counter[str] = Counter()
    spans: defaultdict[str, list[TreeSpan]] = defaultdict(list)
    for node in list_below(tree.tops):
        above = doer.get(id(node.parent)) if node.parent else None
        own = above or (node if node.span.kind in _WORK else None)
        if own is not None:
            doer[id(node)] = own
            by_work[own.span.kind] += waits.get(node.span.run_id, 0)
            if own is node:
                spans[node.span.kind].append(node)
    for kind, wait_ns in by_work.most_common(1):
        share = wait_ns / 1e6 / tree.length_ms
        if share >= _LEAST_SHARE:
            one, several = _WORK[kind]
            return share, one if len(spans[kind]) == 1 else several, spans[kind]
    if len(tree.nodes) <= 1:
        return None, "", []
    longest = max(tree.nodes, key=lambda node: waits.get(node.span.run_id, 0))
    share = waits.get(longest.span.run_id, 0) / 1e6 / tree.length_ms
    return (share, longest.span.name, [longest]) if share >= _LEAST_SHARE else (None, "", [])


def _find_first_error(tree: SpanTree) -> TreeSpan | None:
    """Find the span that failed first: the one whose error ended first, and the innermost of these.

    An error that a parent passes on ends later than the error itself.
    """
    failed = [node for node in list_below(tree.tops) if node.span.has_failed]
    inner = [node for node in failed if not any(child.errors for child in node.children)]
    return min(inner, key=lambda node: (node.span.end_ns, node.span.run_id), default=None)


def step_of(node: TreeSpan) -> int | None:
    """Return the number of the last model call before a span, counted within its agent.

    Calls of models are counted from 1 below the outermost agent; those of other agents inside it
    are not counted.
    """
    way = [node]
    while way[-1].parent is not None:
        way.append(way[-1].parent)
    agent = next((above for above in reversed(way) if above.span.kind == "agent"), None)
    if agent is None:
        return None
    calls = [call for call in list_calls(agent) if call.span.kind == "model"]
    inside = {id(one) for one in way}
    start_ns = next((call.span.start_ns for call in calls if id(call) in inside), None)
    before = node.span.start_ns if start_ns is None else start_ns
    number = sum(call.span.start_ns <= before for call in calls)
    return number or None
