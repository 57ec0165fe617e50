"""`fold` computes the rows of runs from the facts of their traces.

It is a pure function: no clock, no SQL, no prices. The same facts give the same rows, in any order
and however often each fact was delivered. Why: docs/design/056-folded-runs.md.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from operator import attrgetter
from typing import Final, TypeVar

from otel_ml.attributes import JUDGE_KIND
from otel_ml.records import TOKENS, Tokens
from otel_ml.statistics import floats
from otel_ml_collector.fold.contents import (
    MOST_EVENTS,
    complete_words,
    group_events,
    read_amounts,
)
from otel_ml_collector.fold.facts import Facts, LastPoint, SpanFact
from otel_ml_collector.fold.late import gather_late, leave_older_tags
from otel_ml_collector.fold.rows import NO_AMOUNTS, Amounts, FoldedRun, RunRef
from otel_ml_collector.fold.traces import TraceRuns, fold_traces
from otel_ml_collector.owners import tag_texts
from otel_ml_collector.price import round_cost
from otel_ml_collector.records import LateTag, Run, text_of
from otel_ml_collector.resolution import (
    NO_CONTENT,
    NOTHING,
    InheritedContent,
    Resolution,
    TraceNames,
    find_inherited_contents,
    name_owners,
    naming_run_of,
)
from otel_ml_collector.same_calls import CallRun, CallShare, call_run_of, has_facts

# A run inside such a span is not inside a call.
_NOT_INSIDE: Final = frozenset({"span", JUDGE_KIND})
# Fields of a run that another record of its call may have.
_OF_CALL: Final = (
    *("provider", "provider_model", "response_id", "inputs_preview", "outputs_preview"),
    *("first_token_ms", "stream_chunks"),
)
# What `complete_words` needs of a call.
_WITH_WORDS: Final = (
    *("kind", "outcome", "session", "user", "inputs_preview", "outputs_preview"),
    *("error_type", "error_message"),
)
# `dataclasses.astuple` takes 30 times as long.
_counts_of: Final = attrgetter(*[name.removesuffix("_tokens") for name in TOKENS])
# Identity of a span in a trace: its ID, and its start if another span has the same ID.
_SpanKey = bytes


def fold(facts: Facts) -> list[FoldedRun]:
    """Combine all records about each run, such as its spans, tags and scores, into one row.

    Args:
        facts: All records about some traces of a project. Traces that share a response ID of an LLM
            must be passed together.

    Returns:
        One row for each run, including open ones, sorted by trace, start and span ID.
    """
    late = _LateFacts(facts)
    traces = {
        trace_id: _Trace(trace_id, of_trace, late)
        for trace_id, of_trace in _divide(facts.spans).items()
    }
    resolutions = fold_traces(
        {(facts.project, trace_id): trace.list_runs(late) for trace_id, trace in traces.items()}
    )
    for (_, trace_id), of_trace in resolutions.items():
        for key, resolution in of_trace.items():
            traces[trace_id].nodes[key].resolution = resolution
    rows = chain.from_iterable(_fold_trace(trace, traces, late) for trace in traces.values())
    return sorted(rows, key=lambda row: (row.run.trace_id, row.run.start_ns, row.run.span_id))


def _divide(spans: Iterable[SpanFact]) -> dict[bytes, list[SpanFact]]:
    """Choose the delivery that counts for each span, and group the deliveries by trace.

    An end counts more than a start record. Among deliveries of the same kind the highest rank
    counts.
    """
    best: dict[tuple[bytes, bytes, int], SpanFact] = {}
    for fact in spans:
        run = fact.run
        identity = run.trace_id, run.span_id, run.start_ns
        known = best.get(identity)
        if known is None or _precedence(fact) > _precedence(known):
            best[identity] = fact
    traces: defaultdict[bytes, list[SpanFact]] = defaultdict(list)
    for (trace_id, _, _), fact in sorted(best.items()):
        traces[trace_id].append(fact)
    return dict(traces)


def _precedence(fact: SpanFact) -> tuple[object, ...]:
    run = fact.run
    # For equal ranks, these fields make the result independent of the order of deliveries.
    same_rank = run.end_ns, run.arrived_ns, run.outcome, run.name, run.inputs_preview
    return not fact.is_open, run.rank, *same_rank


@dataclass(slots=True)
class _Node:
    """A span at its place in the trace.

    Attributes:
        above: The recorded span around it; None if there is none.
        depth: Number of recorded spans above it.
    """

    fact: SpanFact
    key: _SpanKey
    above: "_Node | None" = None
    depth: int = -1
    resolution: Resolution = NOTHING
    counted: Amounts = NO_AMOUNTS
    inside: list[Amounts] = field(default_factory=list)

    @property
    def run(self) -> Run:
        return self.fact.run

    @property
    def share(self) -> CallShare | None:
        return self.resolution.share


class _Trace:
    """The spans of a trace as a tree."""

    def __init__(self, trace_id: bytes, facts: Sequence[SpanFact], late: "_LateFacts") -> None:
        self.trace_id = trace_id
        by_id: defaultdict[bytes, list[_Node]] = defaultdict(list)
        for fact in facts:
            run = fact.run
            known = by_id[run.span_id]
            key = run.span_id + run.start_ns.to_bytes(8, signed=True) if known else run.span_id
            known.append(_Node(fact, key))
        self.nodes = {node.key: node for nodes in by_id.values() for node in nodes}
        for node in self.nodes.values():
            if candidates := by_id.get(node.run.parent_span_id):
                node.above = _choose_parent(node.run, candidates)
        self._break_circles()
        for node in self.nodes.values():
            _complete(node, late)
        self.calls = {key: _call_run(node) for key, node in self.nodes.items()}

    def list_runs(self, late: "_LateFacts") -> TraceRuns:
        """List what the rules about runs of a trace compare."""
        experiment = late.experiments.get(self.trace_id, "")
        known = Resolution(names=TraceNames(experiment=experiment))
        tags = {key: _write_tags(node.run, late) for key, node in self.nodes.items()}
        keys = {self.trace_id.hex(), *late.keys.get(self.trace_id, ())}
        return TraceRuns(
            [self.calls[key] for key, node in self.nodes.items() if not node.fact.is_open],
            self.calls.values(),
            name_owners(self.calls.values(), tags, keys, late.owners),
            {b"": known} if experiment else {},
        )

    def _break_circles(self) -> None:
        """Set the depths. In a circle of parents, the span with the lowest ID is the top."""
        done: set[_SpanKey] = set()
        for node in self.nodes.values():
            way: dict[_SpanKey, _Node] = {}
            at: _Node | None = node
            while at is not None and at.key not in done and at.key not in way:
                way[at.key] = at
                at = at.above
            if at is not None and at.key in way:
                spans = [*way.values()]
                circle = spans[spans.index(at) :]
                min(circle, key=lambda span: span.key).above = None
            done.update(way)
        for node in self.nodes.values():
            below = [node]
            while below[-1].depth < 0 and (above := below[-1].above) is not None:
                below.append(above)
            for span in reversed(below):
                if span.depth < 0:
                    span.depth = 0 if span.above is None else span.above.depth + 1


def _choose_parent(run: Run, candidates: Sequence[_Node]) -> _Node:
    """Choose the parent among spans that share an ID: the one that was under way."""
    if len(candidates) == 1:
        return candidates[0]
    around = [
        node
        for node in candidates
        if node.run.start_ns <= run.start_ns
        and (node.fact.is_open or run.start_ns <= node.run.end_ns)
    ]
    return (around or candidates)[0]


def _fold_trace(
    trace: _Trace, traces: Mapping[bytes, _Trace], late: "_LateFacts"
) -> Iterator[FoldedRun]:
    """Compute the rows of a trace. Other traces may have records of its calls."""
    nodes = [*trace.nodes.values()]
    for node in nodes:
        node.counted = _count(node)
    _add_up(nodes)
    calls = {
        node.key: node.share
        for node in nodes
        if node.share is not None and (node.share.record_of or node.share.others)
    }
    contents = find_inherited_contents(trace.calls.values(), calls)
    place = _find_places(nodes)
    keys = sorted({*late.keys.get(trace.trace_id, ())})
    for node in nodes:
        folded = _start_row(node, place[node.key], keys)
        records = _find_records(node, trace.trace_id, traces)
        _show_call(folded, node, records)
        _show_inherited(folded, contents.get(node.key, NO_CONTENT), trace)
        if node.share is not None and node.share.record_of:
            counts = traces[node.share.trace_id or trace.trace_id].nodes[node.share.record_of]
            folded.record_of = _ref(counts.run)
        _add_late(folded, late, _name(node, records))
        yield folded


def _start_row(node: _Node, place: tuple[bool, bool], keys: Sequence[str]) -> FoldedRun:
    """Return the row of a run, without late facts and without other records of its call.

    Args:
        node: The run.
        place: Whether it is a request, and whether no recorded call is around it.
        keys: The keys of its trace.
    """
    run, names = node.run, node.resolution.names
    return FoldedRun(
        run=run,
        is_open=node.fact.is_open,
        session=run.session or names.session,
        user=run.user or names.user,
        trace_experiment=run.experiment or names.experiment,
        counted=node.counted,
        inside=_sum(node.inside),
        is_request=place[0],
        is_top=place[1],
        trace_keys=keys,
    )


def _complete(node: _Node, late: "_LateFacts") -> None:
    """Add content from log records that the call's own span does not have."""
    run = node.run
    events = late.events.get(run.run_id, ())[:MOST_EVENTS]
    if events and run.kind != "span":
        call = {name: getattr(run, name) for name in _WITH_WORDS}
        amounts = read_amounts(events).items()
        found = {name: amount for name, amount in amounts if getattr(run, name) is None}
        found |= complete_words(call, events)
        node.fact = replace(node.fact, run=replace(run, **found))


def _call_run(node: _Node) -> CallRun:
    """Return the fields that the rules of `same_calls` compare. Span IDs are keys of the tree."""
    run = node.run
    call = call_run_of(run) if has_facts(run) else naming_run_of(run)
    call.span_id = node.key
    call.parent_span_id = node.above.key if node.above else run.parent_span_id
    call.scope = node.fact.scope
    call.is_whole = node.fact.has_inputs and node.fact.has_outputs
    return call


def _is_repeat(node: _Node) -> bool:
    return node.share is not None and node.share.record_of != b""


def _own(run: Run) -> Amounts:
    return Amounts(Tokens(*[getattr(run, name) for name in TOKENS]), run.cost)


def _count(node: _Node) -> Amounts:
    if node.fact.is_open:
        return NO_AMOUNTS
    if node.share is None:
        return _own(node.run)
    return Amounts(node.share.tokens, node.share.cost)


def _add_up(nodes: Sequence[_Node]) -> None:
    """Pass the amounts of each run to the run above it, the lowest first.

    The calls of a judge are not part of the run that it judges.
    """
    for node in sorted(nodes, key=lambda node: -node.depth):
        above = node.above
        if above is None or (node.run.kind == JUDGE_KIND and above.run.kind != JUDGE_KIND):
            continue
        total = _sum([node.counted, *node.inside])
        if total != NO_AMOUNTS:
            above.inside.append(total)


def _sum(amounts: Sequence[Amounts]) -> Amounts:
    """Add up amounts. The sum of costs does not depend on their order."""
    if not amounts:
        return NO_AMOUNTS
    counts = [
        None if all(count is None for count in column) else sum(filter(None, column))
        for column in zip(*[_counts_of(item.tokens) for item in amounts], strict=True)
    ]
    costs = [item.cost for item in amounts if item.cost is not None]
    return Amounts(Tokens(*counts), round_cost(floats.add(costs)) if costs else None)


def _find_places(nodes: Sequence[_Node]) -> dict[_SpanKey, tuple[bool, bool]]:
    """Find which spans are requests, and which have no recorded call around them, by key."""
    has_calls = any(node.run.kind not in _NOT_INSIDE for node in nodes)
    has_start = any(
        not node.run.parent_span_id and node.run.kind != JUDGE_KIND and not _is_repeat(node)
        for node in nodes
    )
    is_top: dict[_SpanKey, bool] = {}
    for node in sorted(nodes, key=lambda node: node.depth):
        above = node.above
        is_call_above = (
            above is not None and above.run.kind not in _NOT_INSIDE and not _is_repeat(above)
        )
        is_top[node.key] = not is_call_above and (above is None or is_top[above.key])
    places: dict[_SpanKey, tuple[bool, bool]] = {}
    for node in nodes:
        kind = node.run.kind
        is_first = not node.run.parent_span_id
        is_lost = not (is_first or has_start) and is_top[node.key] and kind != "span"
        is_request = (is_first and (kind not in _NOT_INSIDE or has_calls)) or is_lost
        places[node.key] = is_request and kind != JUDGE_KIND, is_top[node.key]
    return places


def _find_records(node: _Node, trace_id: bytes, traces: Mapping[bytes, _Trace]) -> list[SpanFact]:
    """Find the other records of a call, if this is the one that counts."""
    others = node.share.others if node.share else ()
    return [traces[other.trace_id or trace_id].nodes[other.span_id].fact for other in others]


def _show_call(folded: FoldedRun, node: _Node, records: Sequence[SpanFact]) -> None:
    """Set the shown values of a run: its own, otherwise those of other records of its call."""
    run, share = node.run, node.share
    own = _own(run)
    folded.own = own
    for name in (*_OF_CALL, "error_type", "error_message"):
        setattr(folded, name, getattr(run, name))
    if share is None or not records:
        return
    for name in _OF_CALL:
        if getattr(folded, name) in {"", None}:
            setattr(folded, name, getattr(share.facts, name))
    counts = zip(_counts_of(own.tokens), _counts_of(share.tokens), strict=True)
    tokens = Tokens(*[called if count is None else count for count, called in counts])
    folded.own = Amounts(tokens, own.cost if share.cost is None else share.cost)
    folded.others = [_ref(record.run, record.scope) for record in records]
    folded.content_of = [
        _ref(record.run)
        for record in records
        if (record.has_inputs and not node.fact.has_inputs)
        or (record.has_outputs and not node.fact.has_outputs)
    ]


def _show_inherited(folded: FoldedRun, content: InheritedContent, trace: _Trace) -> None:
    """Show the question and answer that a run inherits from other runs of its trace."""
    folded.inputs_preview = folded.inputs_preview or content.inputs_preview
    folded.outputs_preview = folded.outputs_preview or content.outputs_preview
    if content.inputs_of:
        folded.content_of = [*folded.content_of, _ref(trace.nodes[content.inputs_of].run)]


def _ref(run: Run, scope: str = "") -> RunRef:
    return RunRef(run.trace_id, run.span_id, run.start_ns, scope)


def _write_tags(run: Run, late: "_LateFacts") -> list[str]:
    """List the tags of a run as text, including those that arrived later."""
    late_tags = (late_tag.tag for late_tag in late.tags.get(run.run_id, ()))
    return [*tag_texts(run), *(f"{tag.name}={text_of(tag.value)}" for tag in late_tags)]


def _name(node: _Node, records: Sequence[SpanFact]) -> list[str]:
    """List the keys and tags of a run, and the IDs of other records of its call."""
    return sorted({*node.resolution.owners, *(record.run.run_id for record in records)})


def _add_late(folded: FoldedRun, late: "_LateFacts", names: Sequence[str]) -> None:
    """Add late tags, scores, labels, ground truth and metrics to a row."""
    run = folded.run
    folded.owners = names
    if late.is_empty:
        return
    owners = [run.run_id, *names]
    if (found := late.records.find(owners)) is not None:
        own = {tag.name for tag in run.tags}
        tagged_ns = run.start_ns if folded.is_open else run.end_ns
        folded.late = leave_older_tags(found, own, tagged_ns)
    folded.metrics = _find_values(chain.from_iterable(map(late.points.get, owners, repeat(()))))


def _find_values(points: Iterable[LastPoint]) -> dict[str, float]:
    """Find the value to show for each metric: the last of a series, otherwise the first point."""
    series: dict[str, LastPoint] = {}
    single: dict[str, LastPoint] = {}
    for point in points:
        known = (series if point.is_series else single).setdefault(point.name, point)
        if point.is_series and _point_order(point) > _point_order(known):
            series[point.name] = point
        elif not point.is_series and _point_order(point) < _point_order(known):
            single[point.name] = point
    return {name: point.value for name, point in sorted((single | series).items())}


def _point_order(point: LastPoint) -> tuple[int, str, int]:
    return point.time_ns, point.record_id, point.position


class _LateFacts:
    """Late facts by their owner."""

    def __init__(self, facts: Facts) -> None:
        self.keys = facts.keys
        self.experiments = facts.experiments
        self.owners = facts.owners
        self.events = group_events(facts.logs)
        self.records = gather_late(facts.metrics, facts.tags)
        self.tags = _by_owner(facts.tags)
        self.points = _by_owner(facts.points)
        self.is_empty = not (facts.metrics or self.tags or self.points)


_Owned = TypeVar("_Owned", LateTag, LastPoint)


def _by_owner(facts: Iterable[_Owned]) -> dict[str, list[_Owned]]:
    groups: defaultdict[str, list[_Owned]] = defaultdict(list)
    for fact in facts:
        groups[fact.owner].append(fact)
    return dict(groups)
