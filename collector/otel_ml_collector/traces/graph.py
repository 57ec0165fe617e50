"""The graph of a trace: one node for each tool, agent, model and function, and their order."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from otel_ml_collector.traces.tree import SpanTree, TreeSpan, list_below
from otel_ml_collector.wording import count, shorten

# Maximum number of nodes, including one that represents the rarest.
MOST_NODES: Final = 60
# A graph of fewer different steps shows nothing that the tree does not show.
FEWEST_NODES: Final = 3
# Sizes of the drawing, in px.
_NODE_WIDTH: Final = 172
_NODE_HEIGHT: Final = 48
# Maximum length of a name next to the numbers of an agent.
_BOX_CHARS: Final = 22
# Maximum length of a name and the number of calls in a node.
_NODE_CHARS: Final = 16
_GAP_X: Final = 44
_GAP_Y: Final = 20
_PAD: Final = 12
_BOX_HEAD: Final = 28
# A row of nodes is at most this long; further columns begin below.
_MOST_COLUMNS: Final = 3
OTHER_STEPS: Final = "other"
# Agents that are nested deeper are shown next to each other, inside the last of these.
_MOST_AGENTS: Final = 8
Path = tuple[tuple[str, str], ...]


@dataclass(slots=True, eq=False)
class GraphNode:
    """All spans of one kind and name inside the same agents.

    Attributes:
        path: Kind and name of the agents around the node, the outermost first, and its own.
        spans: The spans, oldest first.
        inner: For an agent, the nodes inside it, in the order of their first span.
        length_ms: How long the spans took, added up.
        cost: Their cost, with all calls inside; None if unknown.
        failed: Number of failed spans.
        others: For the node that represents the rarest: number of different steps.
        x, y, width, height: Place in the drawing, in px.
    """

    path: Path
    spans: list[TreeSpan] = field(default_factory=list)
    inner: "list[GraphNode]" = field(default_factory=list)
    others: int = 0
    x: float = 0
    y: float = 0
    width: float = _NODE_WIDTH
    height: float = _NODE_HEIGHT

    @property
    def key(self) -> str:
        """Identifies the node in an address."""
        digest = blake2b(repr(self.path).encode(errors="replace"), digest_size=6)
        return digest.hexdigest()

    @property
    def kind(self) -> str:
        """Kind of the spans."""
        return self.path[-1][0]

    @property
    def name(self) -> str:
        """Name of the spans."""
        return self.path[-1][1]

    @property
    def title(self) -> str:
        """Name in the drawing: as much of it as fits, or how many steps the node represents."""
        name = f"{self.others} other steps" if self.others else self.name
        return shorten(name, _BOX_CHARS if self.is_box else _NODE_CHARS - len(count(self.count)))

    @property
    def agent(self) -> str:
        """Name of the agent around the node; empty for none."""
        return self.path[-2][1] if len(self.path) > 1 else ""

    @property
    def count(self) -> int:
        """Number of spans."""
        return len(self.spans)

    @property
    def failed(self) -> int:
        """Number of failed spans."""
        return sum(node.span.has_failed for node in self.spans)

    @property
    def length_ms(self) -> float:
        """How long the spans took, added up."""
        return sum(node.span.length_ms for node in self.spans)

    @property
    def cost(self) -> float | None:
        """Cost of the spans and all calls inside, in US dollars; None if unknown."""
        costs = [node.cost for node in self.spans if node.cost is not None]
        return sum(costs) if costs else None

    @property
    def is_box(self) -> bool:
        """Whether the node is drawn as a box around the nodes inside it."""
        return bool(self.inner)


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """An arrow: spans of `target` come after or inside spans of `source`."""

    source: GraphNode
    target: GraphNode

    @property
    def line(self) -> str:
        """The SVG path of the arrow."""
        source, target = self.source, self.target
        x1, y1 = source.x + source.width, source.y + min(source.height, _NODE_HEIGHT) / 2
        x2, y2 = target.x, target.y + min(target.height, _NODE_HEIGHT) / 2
        if x2 > x1:
            middle = (x1 + x2) / 2
            return f"M{x1:g} {y1:g}C{middle:g} {y1:g} {middle:g} {y2:g} {x2 - 6:g} {y2:g}"
        x1, y1 = source.x + 24, source.y + source.height
        x2, y2 = target.x + 24, target.y
        if y2 > y1:
            middle = (y1 + y2) / 2
            return f"M{x1:g} {y1:g}C{x1:g} {middle:g} {x2:g} {middle:g} {x2:g} {y2 - 6:g}"
        return ""

    @property
    def head(self) -> str:
        """The SVG path of the head of the arrow."""
        x1, target = self.source.x + self.source.width, self.target
        if target.x > x1:
            return f"M{target.x:g} {target.y + min(target.height, _NODE_HEIGHT) / 2:g}l-7 -3.5v7z"
        return f"M{target.x + 24:g} {target.y:g}l-3.5 -7h7z"


@dataclass(frozen=True, slots=True)
class TraceGraph:
    """The graph of a trace.

    Attributes:
        tops: The nodes that are inside no agent.
        nodes: All nodes, agents before the nodes inside them.
        edges: The arrows.
        width, height: Size of the drawing, in px.
    """

    tops: Sequence[GraphNode]
    nodes: Sequence[GraphNode]
    edges: Sequence[GraphEdge]
    width: float
    height: float


def make_graph(tree: SpanTree) -> TraceGraph | None:
    """Make the graph of a trace; None if it has fewer than three different steps.

    If there are only two next to each other, the chains around them are steps, too. So the nodes of
    a LangGraph agent are boxes. At most 60 nodes remain: the rarest ones become one node.
    """
    owners = _find_owners(tree)
    paths = {*owners.values()}
    if len(paths) == FEWEST_NODES - 1 and not any(path[:-1] in paths for path in paths):
        owners = _find_owners(tree, has_chains=True)
    nodes: dict[Path, GraphNode] = {}
    for node in sorted(owners, key=lambda node: (node.span.start_ns, node.span.run_id)):
        path = owners[node]
        nodes.setdefault(path, GraphNode(path)).spans.append(node)
    if len(nodes) < FEWEST_NODES:
        return None
    nodes = _keep_frequent(nodes, owners)
    tops: list[GraphNode] = []
    for path, graph_node in nodes.items():
        above = nodes.get(path[:-1])
        (tops if above is None else above.inner).append(graph_node)
    edges = _find_edges(nodes, owners)
    ranks = _find_ranks([*nodes.values()], edges)
    width, height = _place(tops, ranks, 0, 0)
    ordered = sorted(nodes.values(), key=lambda one: one.path[:-1])
    return TraceGraph(tops, ordered, [edge for edge in edges if edge.line], width, height)


def _find_owners(tree: SpanTree, *, has_chains: bool = False) -> dict[TreeSpan, Path]:
    """Find the path of each span that is a step: the agents around it, and its kind and name.

    A plain span is left out if a tool, model or agent is below it, because it only contains steps.
    With `has_chains`, a chain that contains steps is around them like an agent.
    """
    agents: dict[int, Path] = {}
    owners: dict[TreeSpan, Path] = {}
    ordered = list_below(tree.tops)
    has_step: set[int] = set()
    for node in reversed(ordered):
        is_step = node.span.kind not in {"span", "chain"} or id(node) in has_step
        if is_step and node.parent is not None:
            has_step.add(id(node.parent))
    for node in ordered:
        around = agents.get(id(node.parent), ()) if node.parent else ()
        own = (node.span.kind, node.span.name)
        is_wrapper = node.span.kind in {"span", "chain"} and id(node) in has_step
        is_box = is_wrapper and has_chains and node.span.kind == "chain"
        if is_box or not is_wrapper:
            # An agent that calls itself is one node.
            owners[node] = around if around and around[-1] == own else (*around, own)
        is_around = (is_box or node.span.kind == "agent") and len(around) < _MOST_AGENTS
        agents[id(node)] = owners[node] if is_around else around
    return owners


def _keep_frequent(
    nodes: Mapping[Path, GraphNode], owners: dict[TreeSpan, Path]
) -> dict[Path, GraphNode]:
    """Replace the rarest nodes by one, so that at most 60 remain."""
    if len(nodes) <= MOST_NODES:
        return dict(nodes)
    # Agents stay as long as nodes inside them stay: they come with the most frequent of these.
    weights: dict[Path, int] = defaultdict(int)
    for path, node in nodes.items():
        for length in range(1, len(path) + 1):
            weights[path[:length]] = max(weights[path[:length]], node.count)
    ranked = sorted(nodes, key=lambda path: (-weights[path], len(path)))
    kept = {*ranked[: MOST_NODES - 1]}
    other = GraphNode(((OTHER_STEPS, OTHER_STEPS),))
    for path in ranked[MOST_NODES - 1 :]:
        other.spans += nodes[path].spans
        other.others += 1
        for span in nodes[path].spans:
            owners[span] = other.path
    other.spans.sort(key=lambda node: node.span.start_ns)
    return {path: node for path, node in nodes.items() if path in kept} | {other.path: other}


def _find_edges(
    nodes: Mapping[Path, GraphNode], owners: Mapping[TreeSpan, Path]
) -> list[GraphEdge]:
    """Find what follows what among the steps of each agent, and what steps call.

    An arrow back to a step that came before is left out: a loop is one node.
    """
    seen: dict[tuple[Path, Path], None] = {}
    order = {path: at for at, path in enumerate(nodes)}
    last: dict[tuple[int, Path], Path] = {}
    for node in sorted(owners, key=lambda node: (node.span.start_ns, node.span.run_id)):
        path = owners[node]
        above = node.parent
        while above is not None and above not in owners:
            above = above.parent
        caller = owners[above] if above is not None else ()
        if caller and caller[-1][0] != "agent" and caller not in (path, path[:-1]):
            seen.setdefault((caller, path))  # a step that another step called
            continue
        key = id(above), caller
        before = last.get(key)
        if before is not None and before != path and before[:-1] == path[:-1]:
            seen.setdefault((before, path))
        last[key] = path
    return [
        GraphEdge(nodes[source], nodes[target])
        for source, target in seen
        if order[source] < order[target] and source != target[: len(source)]
    ]


def _find_ranks(nodes: Sequence[GraphNode], edges: Sequence[GraphEdge]) -> dict[int, int]:
    """Find the column of each node: one after the first node from which an arrow leads to it."""
    ranks: dict[int, int] = {}
    sources: defaultdict[int, list[GraphNode]] = defaultdict(list)
    for edge in edges:
        sources[id(edge.target)].append(edge.source)
    for node in nodes:
        before = [ranks[id(one)] for one in sources[id(node)] if id(one) in ranks]
        ranks[id(node)] = min(before) + 1 if before else 0
    return ranks


def _place(
    nodes: Sequence[GraphNode], ranks: Mapping[int, int], x: float, y: float
) -> tuple[float, float]:
    """Place nodes in columns and rows, boxes with what is inside them.

    Returns:
        The width and height that they take.
    """
    columns: defaultdict[int, list[GraphNode]] = defaultdict(list)
    boxes = [node for node in nodes if node.is_box]
    for node in nodes:
        if not node.is_box:
            columns[min(ranks[id(node)], _MOST_COLUMNS - 1)].append(node)
    width, height, left = 0.0, 0.0, x
    for rank in sorted(columns):
        top = y
        for node in columns[rank]:
            node.x, node.y = left, top
            top += _NODE_HEIGHT + _GAP_Y
        height = max(height, top - y - _GAP_Y)
        left += _NODE_WIDTH + _GAP_X
        width = left - x - _GAP_X
    for box in boxes:
        top = y + height + (_GAP_Y if height else 0)
        indent = 0 if not columns else _GAP_X / 2
        box.x, box.y = x + indent, top
        inner_width, inner_height = _place(box.inner, ranks, box.x + _PAD, top + _BOX_HEAD + _PAD)
        box.width = max(inner_width + 2 * _PAD, _NODE_WIDTH * 1.6)
        box.height = inner_height + _BOX_HEAD + 2 * _PAD
        width = max(width, indent + box.width)
        height = top - y + box.height
    return width, height
