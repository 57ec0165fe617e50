"""The left pane of a run's page: the tree of its trace on a time axis, with search and folds."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.runs.answers import (
    RunSummary,
    SpanOutline,
    Totals,
    Trace,
    add_up,
    summarise,
)
from otel_ml_collector.runs.traces import find_outline, find_text_matches, outline_of
from otel_ml_collector.store.reader import Reader, span_of, winners
from otel_ml_collector.store.runs import Key, find_places, read_runs, read_state
from otel_ml_collector.traces.clock_skew import ClockNote, find_clock_notes
from otel_ml_collector.traces.critical_path import (
    SLOW_MS,
    LongSpan,
    find_long_spans,
    find_slow,
    find_usual_ms,
)
from otel_ml_collector.traces.graph import GraphNode, TraceGraph, make_graph
from otel_ml_collector.traces.trace_sentence import SentenceFacts, find_trace_facts
from otel_ml_collector.traces.tree import (
    SpanTree,
    TreeSpan,
    find_silent_calls,
    make_span_tree,
)
from otel_ml_collector.traces.tree_rows import (
    BarPaths,
    MoreRows,
    TreeRow,
    TreeRows,
    TreeState,
    draw_bars,
    find_matching,
    find_next_error,
)
from otel_ml_collector.wording import count, duration

# Traces with fewer spans need no overview of the whole trace.
_MINIMAP_SPANS: Final = 12
_TOKENS_IN_THOUSANDS: Final = 10_000
_TOKENS_IN_MILLIONS: Final = 1_000_000
# How a trace of at least this length in ms shows its times: ms in a unit, the unit, decimals.
_TIME_UNITS: Final = (
    (0.0, 1.0, "ms", 3),
    (10.0, 1.0, "ms", 1),
    (1_000.0, 1.0, "ms", 0),
    (10_000.0, 1_000.0, "s", 2),
    (100_000.0, 1_000.0, "s", 1),
    (1_000_000.0, 1_000.0, "s", 0),
    (10_000_000.0, 60_000.0, "min", 1),
    (60_000_000.0, 3_600_000.0, "h", 2),
    (360_000_000.0, 3_600_000.0, "h", 1),
)
_CENTS: Final = 0.1
# Larger trees, and trees that still grow, are not kept in memory.
_MOST_KEPT: Final = 10_000
_NOT_KEPT: Final = 10**9
_LARGE_COST: Final = 10.0
# The first value of an input that is a JSON object, without the scheme of an address; the preview
# of an input can be cut.
_FIRST_VALUE: Final = re.compile(r'\{"[^"]*": ?"(?:https?://)?([^"]+)')
# Widths of a column in px: per character, and around the text.
_CHAR_PX: Final = 7.5
_CELL_PX: Final = 13


@dataclass(frozen=True, slots=True)
class SpanMark:
    """A mark next to the name of a span: a few words, and what they mean."""

    text: str
    why: str
    is_slow: bool = False


@dataclass(frozen=True, slots=True)
class TraceAmounts:
    """How the numbers of a trace are written: one unit and number of decimals in each column.

    Attributes:
        per_token: Tokens per unit of the column.
        token_unit: The heading of that column.
        per_ms: Units of the column of times per millisecond.
        time_unit: The heading of that column.
        time_digits: Decimals of that column.
        cost_digits: Decimals of the column of costs.
    """

    per_token: float
    token_unit: str
    per_ms: float
    time_unit: str
    time_digits: int
    cost_digits: int

    def tokens(self, value: int | None) -> str:
        """Write a number of tokens."""
        if value is None:
            return "–"
        digits = {1: 0, 1e-3: 1}.get(self.per_token, 2)
        return _write(value * self.per_token, digits) if digits else count(value)

    def cost(self, value: float | None) -> str:
        """Write a cost in US dollars."""
        return "–" if value is None else _write(value, self.cost_digits)

    def time(self, value_ms: float | None) -> str:
        """Write a duration; a dash if it is unknown."""
        return "–" if value_ms is None else _write(value_ms * self.per_ms, self.time_digits)


def _write(value: float, digits: int) -> str:
    least = 10.0**-digits
    if 0 < value < least / 2:
        return f"< {least:.{digits}f}" if digits else "< 1"
    return f"{value:,.{digits}f}"


def choose_amounts(tree: SpanTree) -> TraceAmounts:
    """Choose the units and decimals for the columns of a trace."""
    tokens = sum(node.tokens or 0 for node in tree.tops)
    cost = max((node.cost or 0.0 for node in tree.tops), default=0.0)
    length_ms = max(tree.length_ms, *(node.span.length_ms for node in tree.tops), 0.0)
    per_token, token_unit = 1.0, "Tokens"
    if tokens >= _TOKENS_IN_MILLIONS:
        per_token, token_unit = 1e-6, "M tok"
    elif tokens >= _TOKENS_IN_THOUSANDS:
        per_token, token_unit = 1e-3, "k tok"
    _, unit_ms, unit, digits = next(row for row in _TIME_UNITS[::-1] if length_ms >= row[0])
    return TraceAmounts(
        per_token=per_token,
        token_unit=token_unit,
        per_ms=1 / unit_ms,
        time_unit=unit,
        time_digits=digits,
        cost_digits=2 if cost >= _LARGE_COST else 3 if cost >= _CENTS else 4,
    )


@dataclass(frozen=True, slots=True)
class Minimap:
    """The whole trace in three lanes: calls of models, tools, and errors."""

    models: BarPaths
    tools: BarPaths
    errors: BarPaths


@dataclass(frozen=True, slots=True)
class TracePane:
    """What the left pane shows.

    Attributes:
        is_part: Whether the trace has more than 100,000 spans, so that only the first are here.
        matches: Number of spans that the filter selects; None without a filter.
        graph: The graph of the trace; None if it has fewer than three different steps.
        graph_node: The selected node of the graph, whose spans are in `rows`.
        widths: Widths of the columns of tokens, cost and time, in px. Without tokens and costs in
            the trace, only the last.
        summaries: More facts about the spans of the rows, by run ID.
    """

    tree: SpanTree
    state: TreeState
    rows: Sequence[TreeRow | MoreRows]
    opened: Collection[str]
    current: TreeSpan | None
    is_part: bool
    matches: int | None
    amounts: TraceAmounts
    widths: Sequence[int]
    summaries: Mapping[str, RunSummary]
    marks: Mapping[str, Sequence[SpanMark]]
    clocks: Sequence[ClockNote]
    next_error: TreeSpan | None
    graph: TraceGraph | None
    graph_node: GraphNode | None

    @property
    def silent(self) -> Sequence[SpanOutline]:
        """The calls of models that report no tokens."""
        return find_silent_calls(self.tree)

    @property
    def totals(self) -> Totals:
        """Tokens and cost of the whole trace."""
        return add_up([node.span for node in self.tree.nodes])

    @property
    def facts(self) -> SentenceFacts:
        """The facts of the sentence above the trace."""
        return find_trace_facts(self.tree)

    @property
    def minimap(self) -> Minimap | None:
        """The overview of the whole trace; None for a short trace."""
        return _draw_minimap(self.tree)

    @property
    def is_graph(self) -> bool:
        """Whether the graph is shown."""
        return self.state.view == "graph" and self.graph is not None

    @property
    def has_usage(self) -> bool:
        """Whether any span has tokens or a cost."""
        return len(self.widths) > 1

    def bars(self, row: TreeRow) -> BarPaths:
        """Draw the bars of a group."""
        return draw_bars(self.tree, row.nodes)

    def place(self, row: TreeRow) -> tuple[float, float]:
        """Return start and length of the bar of a span, in percent of the duration of the trace."""
        scale = 100 / self.tree.length_ms
        span = row.node.span
        x = (span.start_ns - self.tree.start_ns) / 1e6 * scale
        return min(max(x, 0.0), 99.6), min(max(span.length_ms * scale, 0.4), 100.0)

    def name(self, row: TreeRow) -> str:
        """Return the name of a span; below the group of its siblings, the start of its input."""
        span = row.node.span
        summary = self.summaries.get(span.run_id) if row.is_member else None
        given = summary.inputs if summary else ""
        value = _FIRST_VALUE.match(given)
        return (value[1] if value else given) or span.name

    def toggled(self, key: str) -> str:
        """Return the keys of the unfolded rows after a row is folded or unfolded."""
        return ",".join(sorted({*self.opened} ^ {key})) or "-"


def find_tree(reader: Reader, trace_id: str, now_ns: int) -> SpanTree | None:
    """Find all spans of a trace as a tree; None if there are more than 100,000.

    The tree of an ended trace is kept in memory until the rows of the trace change, because each
    fold, selected span and search of a page needs it: of 5,000 spans, the query takes 0.1 s.

    Args:
        reader: The store.
        trace_id: The trace. If it is missing, the tree is empty.
        now_ns: The current time; unfinished spans end now, or when their process was last active.
    """
    places = find_places(reader, trace_id)
    states = [(place, *read_state(reader, place).values()) for place in places]

    def make() -> SpanTree | None:
        spans = find_outline(reader, trace_id, now_ns)
        return None if spans is None else make_span_tree(spans)

    def count_kept(tree: SpanTree | None) -> int:
        if tree is None or tree.unfinished or len(tree.nodes) > _MOST_KEPT:
            return _NOT_KEPT
        return len(tree.nodes)

    return reader.memory.work_out(("tree of a trace", *states), make, count_kept)


def read_tree(
    reader: Reader, trace: Trace, now_ns: int, trace_id: str = ""
) -> tuple[SpanTree, bool]:
    """Read all spans of a trace as a tree.

    Args:
        reader: The store.
        trace: The first runs of the trace.
        now_ns: The current time; unfinished spans end now, or when their process was last active.
        trace_id: The trace, if it has more runs than `trace`.

    Returns:
        The tree, and whether it is incomplete, because the trace has more than 100,000 spans.
    """
    tree = None
    if trace.next_cursor is not None:
        tree = find_tree(reader, trace_id, now_ns)
    is_part = trace.next_cursor is not None and tree is None
    return tree or make_span_tree(outline_of(trace.runs, now_ns)), is_part


def make_pane(
    reader: Reader,
    tree: SpanTree,
    state: TreeState,
    run: RunSummary | SpanOutline,
    *,
    now_ns: int,
    known: Sequence[RunSummary],
    is_part: bool = False,
    below: tuple[str, int, int] | None = None,
) -> TracePane:
    """Make the left pane for a run.

    Args:
        reader: The store.
        tree: The trace of the run.
        state: What the tree shows.
        run: The selected run.
        now_ns: The current time.
        known: Runs of the trace that are already read.
        is_part: Whether the trace has more spans than the tree.
        below: To list only the rows below a row: its key, the level of the rows below, and the
            position of the first one. None to list the whole tree.
    """
    current = tree.find(run.run_id)
    trace_id = run.run_id.partition("-")[0]
    matching, matches = None, None
    if state.is_filtered:
        found = find_text_matches(reader, trace_id, state.find) if state.find else ()
        selected, matching = find_matching(tree, state, found)
        matches = len(selected)
    lister = TreeRows(tree, state, current, matching)
    graph = make_graph(tree) if below is None else None
    chosen = next((one for one in graph.nodes if one.key == state.node), None) if graph else None
    if state.view == "graph" and graph is not None:
        rows = lister.list_spans(chosen.spans if chosen else ())
    elif below is None:
        rows = lister.list_all()
    else:
        rows = lister.list_below(*below)
    shown = [row.node.span for row in rows if isinstance(row, TreeRow) and not row.is_group]
    notes = find_clock_notes(reader, [node.span for node in tree.nodes])
    outline = [node.span for node in tree.nodes]
    summaries = {one.run_id: one for one in known}
    summaries |= _read_summaries(reader, [s for s in shown if s.run_id not in summaries])
    amounts = choose_amounts(tree)
    return TracePane(
        tree=tree,
        state=state,
        rows=rows,
        opened=lister.opened,
        current=current,
        is_part=is_part,
        matches=matches,
        amounts=amounts,
        widths=_find_widths(tree, rows, amounts),
        summaries=summaries,
        marks=_mark(*_find_slow_spans(reader, run.project, outline, now_ns), notes),
        clocks=[*notes.values()],
        next_error=find_next_error(tree, current),
        graph=graph,
        graph_node=chosen,
    )


def _read_summaries(reader: Reader, spans: Sequence[SpanOutline]) -> dict[str, RunSummary]:
    """Read more facts about some ended runs, such as their versions; by run ID."""
    by_project: defaultdict[str, list[Key]] = defaultdict(list)
    for span in spans:
        by_project[span.project].append(Key.of(span.start_ns, span.run_id))
    return {
        summary.run_id: summary
        for project, keys in by_project.items()
        for summary in summarise(
            reader, project, winners(read_runs(reader, project, keys), span_of)
        )
    }


def _find_slow_spans(
    reader: Reader, project: str, outline: Sequence[SpanOutline], now_ns: int
) -> tuple[Sequence[LongSpan], set[str]]:
    """Find the spans that a trace waited for most, and those of them that were slow."""
    long_spans = find_long_spans(outline)
    models = {span.run_id: span.model for span in outline}
    short = [models[span.run_id] for span in long_spans if span.length_ms < SLOW_MS]
    usual_ms = find_usual_ms(reader, project, short, now_ns)
    return long_spans, find_slow(long_spans, models, usual_ms)


def _mark(
    long_spans: Sequence[LongSpan], slow: Collection[str], notes: Mapping[str, ClockNote]
) -> Mapping[str, Sequence[SpanMark]]:
    """Make the marks of spans, by run ID."""
    marks: defaultdict[str, list[SpanMark]] = defaultdict(list)
    for span in long_spans:
        if span.run_id in slow:
            waited = duration(span.wait_ms)
            why = f"this span alone, without the calls inside it, delayed the trace by {waited}"
            marks[span.run_id].append(SpanMark(f"slow {span.percent}", why, is_slow=True))
    for run_id, note in notes.items():
        marks[run_id].append(SpanMark(note.short, note.what))
    return marks


def _find_widths(
    tree: SpanTree, rows: Sequence[TreeRow | MoreRows], amounts: TraceAmounts
) -> Sequence[int]:
    """Find the widths of the columns, so that no number is cut."""
    spans = [row for row in rows if isinstance(row, TreeRow)]
    times = [amounts.time(row.length_ms) for row in spans] + [amounts.time_unit]
    widths = [_width(times)]
    if any(node.tokens is not None or node.cost is not None for node in tree.nodes):
        least = "≥ " if any(row.usage.is_least for row in spans) else ""
        tokens = [amounts.tokens(row.usage.tokens) for row in spans] + [amounts.token_unit]
        costs = [amounts.cost(row.usage.cost) for row in spans]
        brackets = "()" if any(row.usage.is_again for row in spans) else ""
        texts = [least + brackets + text for text in tokens], [least + brackets + c for c in costs]
        widths = [*map(_width, texts), *widths]
    return widths


def _width(texts: Iterable[str]) -> int:
    longest = max((len(text) for text in texts), default=1)
    return _CELL_PX + round(_CHAR_PX * longest)


def _draw_minimap(tree: SpanTree) -> Minimap | None:
    if len(tree.nodes) < _MINIMAP_SPANS:
        return None
    kinds = {"model": "models", "embedding": "models", "tool": "tools", "retriever": "tools"}
    lanes: defaultdict[str, list[TreeSpan]] = defaultdict(list)
    for node in tree.nodes:
        lanes[kinds.get(node.span.kind, "")].append(node)
    failed = [node for node in tree.nodes if node.span.has_failed]
    return Minimap(
        draw_bars(tree, lanes["models"]), draw_bars(tree, lanes["tools"]), draw_bars(tree, failed)
    )
