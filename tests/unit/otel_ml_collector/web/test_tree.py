"""Tests of trees of limited size."""

from typing import Any

import pytest
from hypothesis import given

from otel_ml_collector.web.payload import Node, make_tree
from tests.unit.otel_ml_collector.web.values import json_values


def shown(node: Node) -> list[Node]:
    """List a node and all nodes below it."""
    return [node, *(below for child in node.children for below in shown(child))]


def depth_of(node: Node) -> int:
    return 1 + max((depth_of(child) for child in node.children), default=0)


@pytest.mark.parametrize(
    ("value", "text", "kind"),
    [
        ("text", "text", "text"),
        ("", "", "text"),
        (None, "null", "word"),
        (True, "true", "word"),
        (False, "false", "word"),
        (0, "0", "number"),
        (-0.5, "-0.5", "number"),
        ({}, "{0}", "branch"),
        ([], "[0]", "branch"),
        ({"a": 1, "b": 2}, "{2}", "branch"),
        ([1, 2, 3], "[3]", "branch"),
        ("x" * 1_000, "x" * 1_000, "text"),
        ("x" * 1_001, "x" * 1_000 + "…", "text"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_root(value: Any, text: str, kind: str) -> None:
    """A value is shown as text with its kind. A long text is cut, with a mark."""
    node = make_tree(value)
    assert (node.label, node.text, node.kind) == ("", text, kind)


def test_children() -> None:
    """The values inside a value are its children, with texts in quotes."""
    node = make_tree({"a": "text", "b": [1, None]})
    assert [(child.label, child.text, child.kind) for child in shown(node)[1:]] == [
        ("a", '"text"', "text"),
        ("b", "[2]", "branch"),
        ("0", "1", "number"),
        ("1", "null", "word"),
    ]
    assert [child.hidden for child in shown(node)] == [0, 0, 0, 0, 0]


def test_many_values() -> None:
    """At most 400 nodes are shown, and the remaining values are counted."""
    node = make_tree(list(range(1_000)))
    assert (len(shown(node)), len(node.children), node.hidden) == (400, 399, 601)


def test_from_a_child_on() -> None:
    """Children are shown from a given one on, and those after the last one shown are counted."""
    node = make_tree({f"k{number}": number for number in range(1_000)}, "7", first=700)
    assert (node.first, node.end, node.hidden) == (700, 1_000, 0)
    assert (node.children[0].label, node.children[0].path) == ("k700", "7.700")
    assert make_tree([1, 2], first=9).children == []


def test_many_branches() -> None:
    """The limit applies to all branches together."""
    node = make_tree([list(range(30)) for _ in range(30)])
    assert len(shown(node)) == 400
    missing = node.hidden + sum(child.hidden for child in node.children)
    assert (len(node.children), node.hidden, missing) == (13, 17, 17 + 4)


def test_deep_value() -> None:
    """At most 12 levels below the root are shown, and the hidden values are counted."""
    value: Any = 1
    for _ in range(100):
        value = [value]
    node = make_tree(value)
    assert depth_of(node) == 13
    assert [one.hidden for one in shown(node)] == [0] * 12 + [1]


@given(json_values)
def test_bounds(value: Any) -> None:
    """No tree has more than 400 nodes, and every hidden child is counted."""
    node = make_tree(value)
    nodes = shown(node)
    assert len(nodes) <= 400
    for one in nodes:
        if one.kind == "branch":
            assert one.text[1:-1] == str(len(one.children) + one.hidden)
