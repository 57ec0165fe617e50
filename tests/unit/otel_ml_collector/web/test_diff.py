"""Tests of comparing two versions side by side."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml_collector.versions.definition import VersionDefinition
from otel_ml_collector.versions.diff import (
    DiffSide,
    Line,
    PartChange,
    blocks,
    changes,
    compare,
    facts,
)


def define(**parts: Any) -> VersionDefinition:
    return VersionDefinition(**parts)


def written(side: DiffSide | None) -> str | None:
    """Write a side as its line number and text, with changed parts in brackets."""
    if side is None:
        return None
    pieces = "".join(f"[{piece.text}]" if piece.changed else piece.text for piece in side.pieces)
    return f"{side.number} {pieces}"


def rows(lines: list[Line]) -> list[tuple[str | None, str | None, bool]]:
    return [(written(line.left), written(line.right), line.changed) for line in lines]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (None, {}, "first version"),
        ({}, {}, "unknown (no source code sent)"),
        ({"source": "a"}, {"source": "a"}, "no recorded part"),
        ({"source": "a"}, {"source": "b"}, "source code"),
        ({"signature": "(a)"}, {"signature": "(b)"}, "signature"),
        ({"params": {"k": 1}}, {"params": {"k": 2}}, "k 1 → 2"),
        (
            {"params": {"version": 2.0, "same": 1}},
            {"params": {"version": "2.1", "same": 1, "new": True}},
            'new none → true, version 2.0 → "2.1"',
        ),
        ({"params": {}}, {"params": dict.fromkeys("abcd", 1)}, "parameters"),
        ({"params": {"k": 1}}, {"params": {"k": "long" * 11}}, "parameters"),
        ({"params": None}, {"params": {"k": 1}}, "parameters"),
        ({"output": "int"}, {"output": "str"}, "output"),
        ({"output": None}, {"output": "str"}, "unknown (no source code sent)"),
        ({"constants": {"PROMPT": "a"}}, {"constants": {"PROMPT": "b"}}, "PROMPT"),
        ({"constants": {}}, {"constants": {"B": 1, "A": 1}}, "A, B"),
        ({"helpers": {"clean": "a"}}, {"helpers": {}}, "clean()"),
        (
            {"source": "a", "helpers": {"f": "1"}, "constants": {"K": 1}},
            {"source": "b", "helpers": {"f": "2"}, "constants": {"K": 2}},
            "source code, K, f()",
        ),
    ],
)
def test_changes(old: dict[str, Any] | None, new: dict[str, Any], text: str) -> None:
    """The changes in a version are summarized in a few words."""
    assert changes(None if old is None else define(**old), define(**new)) == text


def test_facts() -> None:
    """Each part of two versions is listed with how it changed."""
    old = define(
        source="def f(a):\n    return a",
        signature="(a)",
        constants={"K": 1, "GONE": "x"},
        helpers={"clean": "1", "same": "2"},
        params={"k": 1},
        output="int",
    )
    new = define(
        source="def f(a):\n    b = a\n    return b",
        signature="(a, b)",
        constants={"K": 2, "NEW": "y" * 100},
        helpers={"clean": "3", "same": "2"},
        params={"k": 2},
        output="str",
    )
    assert facts(old, new) == [
        PartChange("Source code", "+2 −1 lines"),
        PartChange("Signature", "(a) → (a, b)"),
        PartChange("Constants", f"GONE 'x' → none, K 1 → 2, NEW none → '{'y' * 59}…"),
        PartChange("Helpers", "clean()"),
        PartChange("Parameters", "k 1 → 2"),
        PartChange("Output", "int → str"),
    ]


def test_facts_of_the_same() -> None:
    """For two equal versions, every part is "same"."""
    version = define(source="a", signature="(a)", output="int")
    assert [(fact.part, fact.change) for fact in facts(version, version)] == [
        ("Source code", "same"),
        ("Signature", "same, (a)"),
        ("Constants", "same"),
        ("Helpers", "same"),
        ("Parameters", "same"),
        ("Output", "same, int"),
    ]


def test_blocks() -> None:
    """The function comes first, then each helper that was changed, added or removed."""
    old = define(source="a", helpers={"kept": "1", "gone": "2", "changed": "3"})
    new = define(source="a", helpers={"kept": "1", "changed": "4", "new": "5"})
    found = [(block.name, rows(list(block.lines))) for block in blocks(old, new, "answer")]
    assert found == [
        ("answer", [("1 a", "1 a", False)]),
        ("changed", [("1 [3]", "1 [4]", True)]),
        ("gone", [("1 2", None, True)]),
        ("new", [(None, "1 5", True)]),
    ]


def test_long_constants() -> None:
    """A changed constant that is too long for a line is compared as text, word by word."""
    head = "You are a careful agent of an online shop for bicycles and everything around them. "
    old = define(constants={"K": 1, "PROMPT": f"{head}Answer in one sentence."})
    new = define(constants={"K": 2, "PROMPT": f"{head}Answer in rhymes."})
    _, block = blocks(old, new, "answer")
    assert (block.name, block.is_folded, block.added, block.removed) == ("PROMPT", False, 1, 1)
    assert rows(list(block.lines)) == [
        (f"1 {head}Answer in [one sentence].", f"1 {head}Answer in [rhymes].", True)
    ]
    (fact,) = [fact for fact in facts(old, new) if fact.part == "Constants"]
    assert "one sentence." in fact.change
    assert "rhymes." in fact.change


def test_folded_constants() -> None:
    """A constant of many lines is folded, and all of its lines are compared."""
    lines = [f"rule {number}" for number in range(200)]
    old = define(constants={"RULES": "\n".join(lines)})
    new = define(constants={"RULES": "\n".join([*lines[:150], "zebra", *lines[151:]])})
    _, block = blocks(old, new, "answer")
    assert (block.is_folded, len(block.lines), block.added, block.removed) == (True, 200, 1, 1)


def test_helper_of_the_same_name() -> None:
    """A helper with the model's name is shown in addition to the model's function."""
    old = define(source="def answer(): ...", helpers={"answer": "one"})
    new = define(source="def answer(): ...", helpers={"answer": "two"})
    assert [rows(list(block.lines)) for block in blocks(old, new, "answer")] == [
        [("1 def answer(): ...", "1 def answer(): ...", False)],
        [("1 [one]", "1 [two]", True)],
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", []),
        ("a", "a", [("1 a", "1 a", False)]),
        ("", "a", [(None, "1 a", True)]),
        ("a", "", [("1 a", None, True)]),
        (
            "return a + b",
            "return a - b",
            [("1 return a [+] b", "1 return a [-] b", True)],
        ),
        (
            "one\ntwo\nthree",
            "one\nthree",
            [("1 one", "1 one", False), ("2 two", None, True), ("3 three", "2 three", False)],
        ),
        (
            "one\ntwo",
            "one\n2\n3",
            [("1 one", "1 one", False), ("2 [two]", "2 [2]", True), (None, "3 3", True)],
        ),
        ("a\n\n", "a\n", [("1 a", "1 a", False), ("2 ", None, True)]),
    ],
)
def test_compare(old: str, new: str, expected: list[tuple[str | None, str | None, bool]]) -> None:
    """Texts are compared line by line, and changed lines word by word."""
    assert rows(compare(old, new)) == expected


@given(st.text("ab \n", max_size=40), st.text("ab \n", max_size=40))
def test_both_sides_are_whole(old: str, new: str) -> None:
    """Each side of a comparison contains its whole text, line by line."""
    lines = compare(old, new)
    for text, sides in (
        (old, [line.left for line in lines if line.left]),
        (new, [line.right for line in lines if line.right]),
    ):
        assert ["".join(piece.text for piece in side.pieces) for side in sides] == text.splitlines()
        assert [side.number for side in sides] == list(range(1, len(sides) + 1))


@given(st.text("ab \n", max_size=40))
def test_no_change(text: str) -> None:
    """A text compared with itself has no changed line."""
    assert not any(line.changed for line in compare(text, text))


@pytest.mark.parametrize(
    ("source", "lines", "is_cut"),
    [
        ("x\n" * 999, 999, False),
        ("x\n" * 20_000, 1_000, True),
        ("y " * 500_000, 1, True),
        ("z", 1, False),
    ],
    ids=["999 lines", "20,000 lines", "a megabyte", "a letter"],
)
def test_long_sources(source: str, lines: int, is_cut: bool) -> None:
    """Only the first lines of long sources are compared, and the cut is reported."""
    (block,) = blocks(define(source=""), define(source=source), "f")
    assert (len(block.lines), block.is_cut) == (lines, is_cut)


def test_words_of_long_lines() -> None:
    """A line with very many words is marked as changed as a whole, because comparing is slow."""
    (line,) = compare("a b " * 20_000, "a c " * 20_000)
    assert line.left is not None
    assert [piece.changed for piece in line.left.pieces] == [True]
