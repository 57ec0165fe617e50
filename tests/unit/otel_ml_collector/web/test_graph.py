"""Tests of the graph of a trace: its nodes, arrows and places."""

from itertools import pairwise
from typing import Any

from otel_ml_collector.runs.answers import RunSummary
from otel_ml_collector.traces.graph import (
    MOST_NODES,
    GraphNode,
    TraceGraph,
    make_graph,
)
from tests.unit.otel_ml_collector.web.test_waterfall import make_run, tree_of

KINDS = {
    "gpt": "model",
    "search": "tool",
    "fetch": "tool",
    "coder": "agent",
    "vectors": "retriever",
}


def graph_of(*runs: RunSummary) -> TraceGraph:
    graph = make_graph(tree_of(*runs))
    assert graph is not None
    return graph


def step(name: str, parent: str, at_ms: int, **fields: Any) -> RunSummary:
    kind = KINDS.get(name, "tool")
    return make_run(
        f"{name}-{at_ms}", parent, name=name, model=name, kind=kind, start_ms=at_ms, **fields
    )


def make_agent(*steps: RunSummary) -> TraceGraph:
    return graph_of(make_run("researcher", kind="agent", length_ms=1_000), *steps)


def arrows(graph: TraceGraph) -> list[tuple[str, str]]:
    return [(edge.source.name, edge.target.name) for edge in graph.edges]


def test_titles_fit() -> None:
    """A long name is cut in the drawing, without a note about its length."""
    graph = make_agent(
        step("chat gpt-4o-mini", "researcher", 1),
        step("execute_tool find_weather", "researcher", 20),
        step("fetch", "researcher", 40),
    )
    titles = [node.title for node in graph.nodes]
    assert titles == ["researcher", "chat gpt-4o-mi…", "execute_tool f…", "fetch"]


def test_loops_are_one_node() -> None:
    """Each tool and model is one node with its count, time, cost and failures."""
    graph = make_agent(
        step("gpt", "researcher", 1, cost=0.5),
        step("search", "researcher", 20),
        step("gpt", "researcher", 40, cost=0.25),
        step("search", "researcher", 60, outcome="error"),
        step("gpt", "researcher", 80),
        step("fetch", "researcher", 99),
    )
    facts = [(node.name, node.agent, node.count, node.failed, node.cost) for node in graph.nodes]
    assert facts == [
        ("researcher", "", 1, 0, 0.75),
        ("gpt", "researcher", 3, 0, 0.75),
        ("search", "researcher", 2, 1, None),
        ("fetch", "researcher", 1, 0, None),
    ]
    assert graph.nodes[1].length_ms == 30
    assert arrows(graph) == [("gpt", "search"), ("gpt", "fetch")]


def test_agents_inside() -> None:
    """Nodes are nested in their agents; a tool has arrows to what it called."""
    graph = make_agent(
        step("gpt", "researcher", 1),
        step("search", "researcher", 20),
        step("vectors", "search-20", 21),
        step("ask", "researcher", 40),
        step("coder", "ask-40", 41),
        step("gpt", "coder-41", 42),
        step("run", "coder-41", 60),
    )
    assert arrows(graph) == [
        ("gpt", "search"),
        ("search", "vectors"),
        ("search", "ask"),
        ("ask", "coder"),
        ("gpt", "run"),
    ]
    [researcher] = graph.tops
    coder = next(node for node in researcher.inner if node.name == "coder")
    assert [node.name for node in coder.inner] == ["gpt", "run"]
    assert_inside(researcher, graph.width, graph.height)


def assert_inside(box: GraphNode, width: float, height: float) -> None:
    """Check that boxes are inside each other, and that siblings do not overlap."""
    assert 0 <= box.x <= box.x + box.width <= width
    assert 0 <= box.y <= box.y + box.height <= height
    for node in box.inner:
        assert_inside(node, box.x + box.width, box.y + box.height)
        assert node.x >= box.x
        assert node.y > box.y
    for one in box.inner:
        for other in box.inner:
            is_apart = (
                one.x + one.width <= other.x
                or other.x + other.width <= one.x
                or one.y + one.height <= other.y
                or other.y + other.height <= one.y
            )
            assert one is other or is_apart


def test_functions_around_steps() -> None:
    """A plain function is a node only if no step is inside it."""
    graph = make_agent(
        make_run("loop", "researcher", kind="span"),
        step("gpt", "loop", 1),
        step("fetch", "loop", 20),
        make_run("parse", "researcher", kind="span", start_ms=40),
    )
    assert [node.name for node in graph.nodes] == ["researcher", "gpt", "fetch", "parse"]


def test_most_nodes() -> None:
    """Of many different steps, 59 stay and one node represents the rarest."""
    often = [step(f"often {n}", "researcher", 10 * n + at) for n in range(80) for at in (1, 2)]
    rare = [step(f"rare {n}", "researcher", 1_000 + n) for n in range(20)]
    graph = make_agent(*often, *rare)
    assert len(graph.nodes) == MOST_NODES
    other = next(node for node in graph.nodes if node.others)
    assert other.others == 101 - (MOST_NODES - 1)
    assert sum(node.count for node in graph.nodes) == 1 + 180


def test_few_steps() -> None:
    """A trace with fewer than three different steps has no graph."""
    root = make_run("researcher", kind="agent")
    assert (
        make_graph(tree_of(root, step("gpt", "researcher", 1), step("gpt", "researcher", 2)))
        is None
    )


def test_chains_around_two_steps() -> None:
    """The chains around a model and a tool are boxes, as the nodes of a LangGraph agent."""
    graph = graph_of(
        make_run("LangGraph", kind="chain", length_ms=1_000),
        make_run("ask", "LangGraph", name="model", kind="chain", start_ms=1, length_ms=10),
        step("gpt", "ask", 2),
        make_run("tools", "LangGraph", kind="chain", start_ms=20, length_ms=10),
        step("fetch", "tools", 21),
        make_run("again", "LangGraph", name="model", kind="chain", start_ms=40, length_ms=10),
        step("gpt", "again", 41),
    )
    [top] = graph.tops
    assert [(box.name, box.count, [node.name for node in box.inner]) for box in top.inner] == [
        ("model", 2, ["gpt"]),
        ("tools", 1, ["fetch"]),
    ]
    assert arrows(graph) == [("model", "tools")]
    assert_inside(top, graph.width, graph.height)


def test_chain_around_agent() -> None:
    """A chain around an agent with only a model shows nothing that the tree does not show."""
    crew = make_run("Crew", kind="chain", length_ms=100)
    agent = make_run("researcher", "Crew", kind="agent", length_ms=90)
    assert make_graph(tree_of(crew, agent, step("gpt", "researcher", 1))) is None


def test_many_agents_inside_each_other() -> None:
    """A chain of 3,000 agents has at most 60 nodes."""
    names = [f"agent {n}" for n in range(3_000)]
    runs = [make_run(names[0], kind="agent")]
    runs += [make_run(own, above, kind="agent", start_ms=1) for above, own in pairwise(names)]
    assert len(graph_of(*runs).nodes) == MOST_NODES
