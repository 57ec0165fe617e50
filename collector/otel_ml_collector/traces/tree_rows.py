"""Chooses which rows of a trace's tree are shown: groups of repeats, folds, search and order."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from operator import attrgetter
from typing import ClassVar, Final, Literal

from pydantic import BaseModel, Field

from otel_ml_collector.traces.tree import (
    SpanTree,
    TreeSpan,
    Usage,
    add_usages,
    group_repeats,
    list_below,
    usage_of,
)

# So many siblings of the same kind and name become one row.
FEWEST_REPEATS: Final = 3
# Rows that are unfolded when the page opens, and rows that a fold shows at once.
_UNFOLDED_ROWS: Final = 60
_FOLD_ROWS: Final = 100
_MATCHING_ROWS: Final = 300
_TOP: Final = "top"
# Number of columns of the grid on which a bar that represents many spans is drawn.
_BAR_COLUMNS: Final = 1_000


class TreeState(BaseModel):
    """Query parameters that choose what the tree of a trace shows.

    Attributes:
        view: Repeats as one row, all spans in order, or the graph of its steps.
        find: Text to search for in names, inputs and outputs.
        errors: Whether only failed spans are shown.
        order: Siblings by time, or the slowest first.
        node: A node of the graph, by key; its spans are listed.
        open: The unfolded rows, by key; None to unfold as many as fit into the window.
        unfolded: Number of rows that fit.
    """

    unfolded: ClassVar[int] = _UNFOLDED_ROWS

    view: Literal["grouped", "order", "graph"] = "grouped"
    find: str = Field(default="", max_length=200)
    errors: bool = False
    order: Literal["time", "slow"] = "time"
    node: str = Field(default="", max_length=40)
    open: str | None = Field(default=None, max_length=8_000)

    @property
    def parameters(self) -> dict[str, object]:
        """The parameters that differ from their defaults, without `open`."""
        return {
            "view": "" if self.view == "grouped" else self.view,
            "find": self.find,
            "errors": "1" if self.errors else "",
            "order": "" if self.order == "time" else self.order,
            "node": self.node,
        }

    @property
    def is_filtered(self) -> bool:
        """Whether only some of the spans are shown."""
        return bool(self.find) or self.errors


@dataclass(frozen=True, slots=True)
class TreeRow:
    """A row: a span, or a group of siblings with the same kind and name.

    Attributes:
        key: Identifies the row in its trace.
        level: Depth of the row; the top of the tree has 1.
        nodes: The spans of the row.
        usage: Tokens and cost of the spans.
        is_open: Whether the rows below are shown.
        below: Number of rows below; 0 for a span without children.
        is_member: Whether the row above is the group of this span.
    """

    key: str
    level: int
    nodes: Sequence[TreeSpan]
    usage: Usage
    is_open: bool
    below: int
    is_member: bool = False

    @property
    def node(self) -> TreeSpan:
        """The first span of the row."""
        return self.nodes[0]

    @property
    def is_group(self) -> bool:
        """Whether the row represents several spans."""
        return len(self.nodes) > 1

    @property
    def failed(self) -> int:
        """Number of failed spans of the row."""
        return sum(node.span.has_failed for node in self.nodes)

    @property
    def errors_inside(self) -> int:
        """Number of failed spans below the spans of the row."""
        return sum(node.errors for node in self.nodes) - self.failed

    @property
    def length_ms(self) -> float:
        """Duration of the spans of the row, added up."""
        return sum(node.span.length_ms for node in self.nodes)


@dataclass(frozen=True, slots=True)
class MoreRows:
    """A row in place of siblings that are not loaded.

    Attributes:
        key: The row above them.
        first: Position of the first of them among its siblings.
    """

    key: str
    level: int
    first: int
    count: int


@dataclass(slots=True)
class TreeRows:
    """Lists the rows of a trace.

    Attributes:
        tree: The trace.
        state: What is shown.
        current: The selected span; None for none.
        matching: The only spans to show, with the spans above them; None to show all.
        opened: Keys of the unfolded rows; filled by `unfold` if the state has none.
    """

    tree: SpanTree
    state: TreeState
    current: TreeSpan | None = None
    matching: Collection[int] | None = None
    opened: set[str] = field(default_factory=set)

    def list_all(self) -> list[TreeRow | MoreRows]:
        """List the rows of the whole tree."""
        if self.state.open is not None:
            self.opened = set(filter(None, self.state.open.split(",")))
        elif not self.opened:
            self.unfold()
        most = _MATCHING_ROWS if self.matching is not None else None
        return self._list(_TOP, self.tree.tops, 1, most)

    def list_below(self, key: str, level: int, first: int) -> list[TreeRow | MoreRows]:
        """List the rows below a row, from one of them on; empty if there is no such row."""
        return self._list(key, self._find_nodes(key), level, first=first)

    def list_spans(self, nodes: Sequence[TreeSpan]) -> list[TreeRow | MoreRows]:
        """List some spans without what is above or below them, at most 100."""
        rows = [self._of_span(node, 1, is_member=True) for node in nodes]
        if self.state.order == "slow":
            rows.sort(key=attrgetter("length_ms"), reverse=True)
        return [replace(row, below=0, is_open=False) for row in rows[:_FOLD_ROWS]]

    def _find_nodes(self, key: str) -> Sequence[TreeSpan]:
        """Return the spans below a row."""
        if key == _TOP:
            return self.tree.tops
        above, _, group = key.partition(".")
        if group:
            siblings = self._find_nodes(above)
            return next(
                (nodes for nodes in group_repeats(siblings) if _group_key(above, nodes) == key), ()
            )
        return next((node.children for node in self.tree.nodes if node.key == key), ())

    def unfold(self) -> None:
        """Unfold the way to the selected span, then what fits, the longest rows first."""
        way = self.current.parent if self.current else None
        own = self.current
        while own is not None:
            siblings = way.children if way else self.tree.tops
            above = way.key if way else _TOP
            for row in self._arrange(above, siblings, 1):
                if row.is_group and own in row.nodes:
                    self.opened.add(row.key)
            if way is not None:
                self.opened.add(way.key)
            own, way = way, way.parent if way else None
        shown = self._arrange(_TOP, self.tree.tops, 1)
        if len(shown) == 1:
            self.opened.add(shown[0].key)
        left = self.state.unfolded - len(shown)
        waiting = [*shown]
        while waiting:
            waiting.sort(key=lambda row: (row.is_group, row.level, -row.length_ms))
            row = waiting.pop(0)
            if row.below and (row.key in self.opened or row.below <= left):
                self.opened.add(row.key)
                below = self._below(row)
                left -= min(len(below), _FOLD_ROWS)
                waiting += below[:_FOLD_ROWS]

    def _list(
        self,
        key: str,
        nodes: Sequence[TreeSpan],
        level: int,
        most: int | None = None,
        first: int = 0,
    ) -> list[TreeRow | MoreRows]:
        rows: list[TreeRow | MoreRows] = []
        waiting: list[TreeRow | MoreRows] = [*self._cut(key, nodes, level, first)][::-1]
        while waiting:  # not recursive: a trace may be deeper than Python's stack
            row = waiting.pop()
            if most is not None and len(rows) >= most:
                break
            rows.append(row)
            if isinstance(row, TreeRow) and row.is_open:
                below = self._cut(row.key, self._nodes_below(row), row.level + 1, 0)
                waiting += [*below][::-1]
        return rows

    def _cut(
        self, key: str, nodes: Sequence[TreeSpan], level: int, first: int
    ) -> Iterator[TreeRow | MoreRows]:
        """Arrange siblings, and put one row in place of those beyond the first 100."""
        arranged = self._arrange(key, nodes, level)
        end = first + _FOLD_ROWS
        own = next((at for at, row in enumerate(arranged) if self.current in row.nodes), 0)
        if first == 0 and own >= end:  # the selected span is always among the rows
            yield from arranged[: _FOLD_ROWS // 2]
            from_, end = own - _FOLD_ROWS // 4, own + _FOLD_ROWS // 4
            yield MoreRows(key, level, _FOLD_ROWS // 2, from_ - _FOLD_ROWS // 2)
            yield from arranged[from_:end]
        else:
            yield from arranged[first:end]
        if len(arranged) > end:
            yield MoreRows(key, level, end, len(arranged) - end)

    def _nodes_below(self, row: TreeRow) -> Sequence[TreeSpan]:
        return row.nodes if row.is_group else row.node.children

    def _below(self, row: TreeRow) -> list[TreeRow]:
        return self._arrange(row.key, self._nodes_below(row), row.level + 1)

    def _arrange(self, key: str, nodes: Sequence[TreeSpan], level: int) -> list[TreeRow]:
        """Make the rows of siblings, grouped and in order."""
        if self.matching is not None:
            nodes = [node for node in nodes if id(node) in self.matching]
        is_group = "." in key
        groups = group_repeats(nodes) if self.state.view == "grouped" and not is_group else []
        rows = []
        for group in [*groups] or [[node] for node in nodes]:
            if len(group) < FEWEST_REPEATS or self.matching is not None:
                rows += [self._of_span(node, level, is_member=is_group) for node in group]
            else:
                rows.append(self._of_group(key, group, level))
        rows.sort(key=lambda row: row.node.span.start_ns)
        if self.state.order == "slow":
            rows.sort(key=attrgetter("length_ms"), reverse=True)
        return rows

    def _of_span(self, node: TreeSpan, level: int, *, is_member: bool) -> TreeRow:
        below = self._count(node)
        is_open = bool(below) and (self.matching is not None or node.key in self.opened)
        return TreeRow(node.key, level, [node], usage_of(node), is_open, below, is_member)

    def _of_group(self, key: str, nodes: Sequence[TreeSpan], level: int) -> TreeRow:
        own = _group_key(key, nodes)
        return TreeRow(own, level, nodes, add_usages(nodes), own in self.opened, len(nodes))

    def _count(self, node: TreeSpan) -> int:
        if self.matching is not None:
            return sum(id(child) in self.matching for child in node.children)
        if self.state.view != "grouped":
            return len(node.children)
        groups = group_repeats(node.children)
        return sum(1 if len(group) >= FEWEST_REPEATS else len(group) for group in groups)


def _group_key(above: str, nodes: Sequence[TreeSpan]) -> str:
    span = nodes[0].span
    digest = blake2b(f"{span.kind}\0{span.name}".encode(errors="replace"), digest_size=4)
    return f"{above}.{digest.hexdigest()}"


def find_matching(
    tree: SpanTree, state: TreeState, found: Collection[str]
) -> tuple[list[TreeSpan], set[int]]:
    """Find the spans that a filter selects.

    Args:
        tree: The trace.
        state: The filter.
        found: IDs of the spans whose inputs or outputs contain the searched text.

    Returns:
        The spans, in the order of the tree, and the identities of these and all spans above them.
    """
    text = state.find.casefold()
    selected = [
        node
        for node in list_below(tree.tops)
        if (not state.errors or node.span.has_failed)
        and (not text or text in node.span.name.casefold() or node.key in found)
    ]
    shown: set[int] = set()
    for node in selected:
        above: TreeSpan | None = node
        while above is not None and id(above) not in shown:
            shown.add(id(above))
            above = above.parent
    return selected, shown


def find_next_error(tree: SpanTree, current: TreeSpan | None) -> TreeSpan | None:
    """Find the failed span after a span in the order of time; after the last one, the first."""
    failed = [node for node in tree.nodes if node.span.has_failed]
    if not failed:
        return None
    place = (0, "") if current is None else (current.span.start_ns, current.span.run_id)
    later = (node for node in failed if (node.span.start_ns, node.span.run_id) > place)
    return next(later, failed[0])


@dataclass(frozen=True, slots=True)
class BarPaths:
    """SVG paths of some spans on the time axis of a trace, 1,000 wide and 10 high.

    Attributes:
        others: The spans that did not fail.
        failed: The failed spans.
    """

    others: str
    failed: str


def draw_bars(tree: SpanTree, nodes: Iterable[TreeSpan]) -> BarPaths:
    """Draw spans as one path for each outcome. Spans closer than 1/1,000 of the axis are joined."""

    def is_failed(node: TreeSpan) -> bool:
        return node.span.has_failed

    nodes = [*nodes]
    return BarPaths(
        _draw(tree, nodes, lambda node: not is_failed(node)), _draw(tree, nodes, is_failed)
    )


def _draw(tree: SpanTree, nodes: Iterable[TreeSpan], is_drawn: Callable[[TreeSpan], bool]) -> str:
    scale = _BAR_COLUMNS / (tree.length_ms * 1e6)
    bars: list[list[int]] = []
    for node in sorted(filter(is_drawn, nodes), key=lambda node: node.span.start_ns):
        start = round((node.span.start_ns - tree.start_ns) * scale)
        end = round((node.span.end_ns - tree.start_ns) * scale)
        if bars and start <= bars[-1][1]:
            bars[-1][1] = max(bars[-1][1], end)
        else:
            bars.append([start, end])
    return "".join(f"M{start} 0h{end - start}v10h{start - end}z" for start, end in bars)
