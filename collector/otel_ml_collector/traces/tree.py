"""The spans of a trace as a tree, with the sums of what is inside each span."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from otel_ml.attributes import JUDGE_KIND
from otel_ml_collector.runs.answers import SpanOutline, has_tokens
from otel_ml_collector.runs.find import NO_CALLS
from otel_ml_collector.same_calls import CALLS


@dataclass(slots=True, eq=False)
class TreeSpan:
    """A span in the tree of its trace.

    Attributes:
        parent: The span above; None for a span at the top of the tree.
        children: The spans below, oldest first.
        inside: Number of spans below, at any depth.
        errors: Number of failed spans among this span and all below it.
        tokens: Input and output tokens of this span and all below it that count in totals; None if
            unknown.
        cost: The same for the cost, in US dollars.
        is_silent: Whether the span is a call of a model that reports no tokens.
        has_silent: Whether such a call is below.
    """

    span: SpanOutline
    parent: "TreeSpan | None" = None
    children: "list[TreeSpan]" = field(default_factory=list)
    inside: int = 0
    errors: int = 0
    tokens: int | None = None
    cost: float | None = None
    is_silent: bool = False
    has_silent: bool = False

    @property
    def key(self) -> str:
        """The ID of the span inside its trace."""
        return self.span.run_id.partition("-")[2] or self.span.run_id


@dataclass(frozen=True, slots=True)
class SpanTree:
    """The tree of a trace.

    Attributes:
        tops: Spans without a parent, or whose parent is missing, oldest first.
        nodes: All spans. If several share an ID, all of them are here.
        start_ns, end_ns: When the trace began and ended.
        orphans: Number of spans whose parent is missing.
    """

    tops: Sequence[TreeSpan]
    nodes: Sequence[TreeSpan]
    start_ns: int
    end_ns: int
    orphans: int

    @property
    def length_ms(self) -> float:
        """Duration of the trace, in ms; at least a nanosecond."""
        return max((self.end_ns - self.start_ns) / 1e6, 1e-6)

    @property
    def errors(self) -> int:
        """Number of failed spans."""
        return sum(node.span.has_failed for node in self.nodes)

    @property
    def unfinished(self) -> int:
        """Number of spans that run or crashed."""
        return sum(node.span.outcome in {"running", "crashed"} for node in self.nodes)

    def find(self, run_id: str) -> TreeSpan | None:
        """Return the span with an ID; the one that began last if several share it."""
        own = (node for node in self.nodes if node.span.run_id == run_id)
        return max(own, key=lambda node: node.span.start_ns, default=None)


def make_span_tree(spans: Iterable[SpanOutline]) -> SpanTree:
    """Order the spans of a trace as a tree and add up what is inside each span.

    If several spans share an ID, as those of a client and a server can, children belong to the span
    that began last. If spans are each other's parents, the oldest of them is at the top.

    Args:
        spans: The spans in any order. A span with the same ID and start as another one is left out.
    """
    unique = {(span.run_id, span.start_ns): span for span in spans}
    nodes = [TreeSpan(s) for s in sorted(unique.values(), key=attrgetter("start_ns", "run_id"))]
    last = {node.span.run_id: node for node in nodes}
    orphans = 0
    for node in nodes:
        above = node.span.parent_run_id
        parent = last.get(above) if above and above != node.span.run_id else None
        orphans += parent is None and bool(above) and above != node.span.run_id
        node.parent = parent
        if parent is not None:
            parent.children.append(node)
    tops = [node for node in nodes if node.parent is None]
    tops += _open_cycles(nodes, list_below(tops))
    _add_up(tops)
    return SpanTree(
        tops=tops,
        nodes=nodes,
        start_ns=min((node.span.start_ns for node in nodes), default=0),
        end_ns=max((node.span.end_ns for node in nodes), default=0),
        orphans=orphans,
    )


def _open_cycles(nodes: Sequence[TreeSpan], reached: Iterable[TreeSpan]) -> list[TreeSpan]:
    """Put one span of each cycle at the top, so that a way leads from the tops to all spans."""
    seen = {id(node) for node in reached}
    tops: list[TreeSpan] = []
    for node in nodes:
        if id(node) in seen:
            continue
        way: set[int] = set()
        top = node
        while id(top) not in way and top.parent is not None:
            way.add(id(top))
            top = top.parent
        if top.parent is not None:
            top.parent.children.remove(top)
            top.parent = None
        tops.append(top)
        seen |= {id(one) for one in list_below([top])}
    return tops


def list_below(tops: Iterable[TreeSpan]) -> list[TreeSpan]:
    """List some spans and all spans below them, parents before children, oldest first."""
    ordered: list[TreeSpan] = []
    waiting = [*tops][::-1]
    while waiting:  # not recursive: a trace may be deeper than Python's stack
        node = waiting.pop()
        ordered.append(node)
        waiting += reversed(node.children)
    return ordered


def _add_up(tops: Sequence[TreeSpan]) -> None:
    for node in reversed(list_below(tops)):
        span = node.span
        counts = span.kind != JUDGE_KIND
        used = span.tokens
        is_known = counts and has_tokens(used)
        tokens = [(used.input or 0) + (used.output or 0)] if is_known else []
        costs = [span.cost] if counts and span.cost is not None else []
        has_call = False
        node.errors = int(span.has_failed)
        for child in node.children:
            node.inside += child.inside + 1
            node.errors += child.errors
            node.has_silent = node.has_silent or child.has_silent or child.is_silent
            has_call = has_call or child.span.kind not in NO_CALLS
            tokens += [] if child.tokens is None else [child.tokens]
            costs += [] if child.cost is None else [child.cost]
        node.tokens = sum(tokens) if tokens else None
        node.cost = sum(costs) if costs else None
        node.is_silent = (
            span.kind == "model"
            and span.names_provider
            and not has_tokens(used)
            and not span.is_resolved
            and not has_call
        )


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and cost of one span or several, as a row of the trace shows them.

    Attributes:
        tokens: Input and output tokens; None if unknown.
        cost: US dollars; None if unknown.
        is_sum: Whether the numbers include the model calls below.
        is_least: Whether a model call below reports no tokens, so that the real sum can be higher.
        is_again: Whether the span repeats a call that another span also recorded. The numbers then
            count only in the other span.
    """

    tokens: int | None
    cost: float | None
    is_sum: bool = False
    is_least: bool = False
    is_again: bool = False


def usage_of(node: TreeSpan) -> Usage:
    """Return tokens and cost of a span.

    A call of a model has its own numbers. Any other span has the sum of the model calls below it. A
    call that was recorded twice counts once.
    """
    span = node.span
    own = span.own
    if span.kind in CALLS:
        used = own.tokens if own else span.tokens
        tokens = (used.input or 0) + (used.output or 0) if has_tokens(used) else None
        return Usage(tokens, own.cost if own else span.cost, is_again=own is not None)
    has_sum = node.tokens is not None or node.cost is not None
    return Usage(node.tokens, node.cost, is_sum=True, is_least=node.has_silent and has_sum)


def add_usages(nodes: Sequence[TreeSpan]) -> Usage:
    """Add up tokens and cost of some spans and all spans inside them."""
    tokens = [node.tokens for node in nodes if node.tokens is not None]
    costs = [node.cost for node in nodes if node.cost is not None]
    is_least = any(node.has_silent or node.is_silent for node in nodes)
    return Usage(
        sum(tokens) if tokens else None,
        sum(costs) if costs else None,
        is_sum=True,
        is_least=is_least and bool(tokens or costs),
    )


def find_silent_calls(tree: SpanTree) -> list[SpanOutline]:
    """Find the calls of models without tokens in any of their records."""
    return [node.span for node in tree.nodes if node.is_silent]


def group_repeats(nodes: Sequence[TreeSpan]) -> list[list[TreeSpan]]:
    """Group siblings of the same kind and name, in the order of the first of each group."""
    groups: defaultdict[tuple[str, str], list[TreeSpan]] = defaultdict(list)
    for node in nodes:
        groups[node.span.kind, node.span.name].append(node)
    return [*groups.values()]
