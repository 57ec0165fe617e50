"""Tests of the filter language: what it reads, and where it points when it cannot."""

from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml_collector.errors import BadQuery
from otel_ml_collector.query.language import (
    Both,
    Comparison,
    Either,
    Field,
    Not,
    Tree,
    conjuncts,
    fields_of,
    parse,
)

EXPECTED_COMPARISON: Final = "Expected a comparison such as latency_ms > 200, found "


def compared(
    field: str, operator: str, value: object, *, key: str | None = None, at: tuple[int, int]
) -> Comparison:
    """Make a comparison whose field and value stand at two columns."""
    return Comparison(Field(field, key, at[0]), operator, value, at[1])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", None),
        (" \n\t ", None),
        ('model == "answer"', compared("model", "==", "answer", at=(0, 9))),
        ("model == 'answer'", compared("model", "==", "answer", at=(0, 9))),
        ("  latency_ms > 200", compared("latency_ms", ">", 200, at=(2, 15))),
        ("latency_ms >= -0.5", compared("latency_ms", ">=", -0.5, at=(0, 14))),
        ("version != 3", compared("version", "!=", 3, at=(0, 11))),
        ("200 < latency_ms", compared("latency_ms", ">", 200, at=(6, 0))),
        ("200 >= latency_ms", compared("latency_ms", "<=", 200, at=(7, 0))),
        ('"a" == model', compared("model", "==", "a", at=(7, 0))),
        ('tags["client"] == True', compared("tags", "==", value=True, key="client", at=(0, 18))),
        ('tags["ü"] == "日本"', compared("tags", "==", "日本", key="ü", at=(0, 13))),
        ('model in ("a", "b")', compared("model", "in", ("a", "b"), at=(0, 9))),
        ('model not in ["a"]', compared("model", "not in", ("a",), at=(0, 13))),
        ("version in ()", compared("version", "in", (), at=(0, 11))),
        ('not model == "a"', Not(compared("model", "==", "a", at=(4, 13)))),
    ],
)
def test_comparison(text: str, tree: Tree | None) -> None:
    """A comparison is read with its field, operator, value and columns."""
    assert parse(text) == tree


def test_chain() -> None:
    """A chained comparison holds when each of its pairs does."""
    assert parse("100 < latency_ms <= 200") == Both(
        [
            compared("latency_ms", ">", 100, at=(6, 0)),
            compared("latency_ms", "<=", 200, at=(6, 20)),
        ]
    )


def test_binding() -> None:
    """``not`` binds tighter than ``and``, and ``and`` tighter than ``or``."""
    a, b, c = (
        compared("version", "==", number, at=at)
        for number, at in ((1, (4, 15)), (2, (21, 32)), (3, (37, 48)))
    )
    assert parse("not version == 1 and version == 2 or version == 3") == Either(
        [Both([Not(a), b]), c]
    )


def test_parentheses() -> None:
    """Parentheses bind tightest."""
    assert parse("version == 1 and (version == 2 or version == 3)") == Both(
        [
            compared("version", "==", 1, at=(0, 11)),
            Either(
                [
                    compared("version", "==", 2, at=(18, 29)),
                    compared("version", "==", 3, at=(34, 45)),
                ]
            ),
        ]
    )


@pytest.mark.parametrize(
    ("text", "message", "column"),
    [
        ("model =", "This is no expression: invalid syntax", 6),
        ('model = "a"', "This is no expression: invalid syntax", 6),
        ('model == "a" and', "This is no expression: invalid syntax", 16),
        ('model == "a', "This is no expression: unterminated string literal", 9),
        ('  model == "a', "This is no expression: unterminated string literal", 11),
        ("(model == 1", "This is no expression: '(' was never closed", 0),
        ('"ü" == model and', "This is no expression: invalid syntax", 16),
        ("model", f"{EXPECTED_COMPARISON}model", 0),
        ("True", f"{EXPECTED_COMPARISON}True", 0),
        ('model == "ü" and x', f"{EXPECTED_COMPARISON}x", 17),
        ("model == other", "Expected a text, a number, True or False, found other", 9),
        ('model == "日本" or model == None', "Expected a text, a number, True or False", 26),
        ('1 == "a"', 'Expected a field and a value, found 1 and "a"', 0),
        ('model is "a"', "Expected one of == != < <= > >= in", 0),
        ('model in "answer"', 'Expected values in parentheses such as ("a", "b")', 9),
        ('tags[1] == "a"', 'Expected a field such as model or tags["client"]', 0),
        ('tags["a"]["b"] == 1', 'Expected a field such as model or tags["client"]', 0),
        ("tags[model] == 1", 'Expected a field such as model or tags["client"]', 0),
        ('tags["a":"b"] == 1', 'Expected a field such as model or tags["client"]', 0),
        ("model == b'a'", "Expected a text, a number, True or False, found b'a'", 9),
        ("version == 1j", "Expected a text, a number, True or False, found 1j", 11),
        ("version == ...", "Expected a text, a number, True or False, found ...", 11),
        ("version == 1 + 1", "Expected a text, a number, True or False, found 1 + 1", 11),
        ("version == ~1", "Expected a text, a number, True or False, found ~1", 11),
        ('version == -"a"', "Expected a text, a number, True or False, found", 11),
        ('"refund" in input', "Searching in a text is not built yet: compare fields", 12),
    ],
)
def test_error(text: str, message: str, column: int) -> None:
    """What is no filter is told with what was expected, and where, in characters."""
    with pytest.raises(BadQuery) as caught:
        parse(text)
    assert str(caught.value).startswith(message)
    assert (caught.value.field, caught.value.column) == ("where", column)


@pytest.mark.parametrize(
    ("text", "column"), [('(model == "a"\n and other)', 19), ('(model == "a"\n and =)', 19)]
)
def test_error_in_a_later_line(text: str, column: int) -> None:
    """A column counts from the beginning of the whole text, also over several lines."""
    with pytest.raises(BadQuery) as caught:
        parse(text)
    assert caught.value.column == column


@pytest.mark.parametrize(
    "text",
    [
        '__import__("os").system("touch {file}") == 0',
        'model == __import__("os").system("touch {file}")',
        '[model for model in [open("{file}", "w")]] == 1',
        "model == f\"{{open('{file}', 'w')}}\"",
        '(model := open("{file}", "w")) == 1',
        '(lambda: open("{file}", "w"))() == 1',
        'tags[open("{file}", "w")] == 1',
        'model in (open("{file}", "w"),)',
        'model == "a" if open("{file}", "w") else "b"',
        'open("{file}", "w") and model == "a"',
        'not open("{file}", "w")',
        'open("{file}", "w") < latency_ms',
    ],
)
def test_nothing_is_evaluated(tmp_path: Path, text: str) -> None:
    """Code in a filter is refused and never run."""
    file = tmp_path / "touched"
    with pytest.raises(BadQuery):
        parse(text.format(file=file))
    assert not file.exists()


@pytest.mark.parametrize(
    "text",
    [
        "model.name == 1",
        "model.__class__ == 1",
        "model() == 1",
        'f"{model}" == "a"',
        "(x := 1) == 1",
        "(lambda: 1) == 1",
        "[x for x in y] == 1",
        "{x: 1 for x in y} == 1",
        "model == (yield)",
        "await model == 1",
        "*model == 1",
        "model == 1; model == 2",
        "import os",
        "model == 1\nmodel == 2",
        "model == 1 if version else 2",
        "model @ 2 == 1",
        "\x00",
        'model == "\x00"',
        "model == '\\N{'",
        "\ud800 == 1",
        "(" * 10_000 + "model == 1" + ")" * 10_000,
        "not " * 900 + "model == 1",
        "-" * 3_900 + "1 == model",
        "[" * 3_900,
        "model == " + "1" * 4_400,
        "model == 1 and " * 260 + "model == 1",
        'model == "' + "x" * 1_000_000 + '"',
        "model == 1 or " * 70_000,
    ],
    ids=lambda text: ascii(text[:25]),
)
def test_refused(text: str) -> None:
    """Whatever is no comparison of fields and values is refused, however it is nested and long."""
    with pytest.raises(BadQuery):
        parse(text)


def test_long_filter() -> None:
    """A filter of more than 4,000 characters is told as such."""
    with pytest.raises(BadQuery, match=r"^The filter has 4001 characters: expected at most 4000$"):
        parse('model == "' + "x" * 3_990 + '"')


def test_longest_filter() -> None:
    """A filter of 4,000 characters is read."""
    name = "x" * 3_989
    assert parse(f'model == "{name}"') == compared("model", "==", name, at=(0, 9))


@given(st.text())
def test_any_text(text: str) -> None:
    """Any text is a filter or a mistake in one, and nothing else happens."""
    try:
        parse(text)
    except BadQuery as error:
        assert error.field == "where"  # noqa: PT017 - both ways are right
        assert error.column is not None  # noqa: PT017
        assert 0 <= error.column <= len(text)  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ('model == "a"', ['model == "a"']),
        ('model == "a" and version == 1', ['model == "a"', "version == 1"]),
        (
            '(model == "a" or model == "b") and version == 1',
            ['(model == "a" or model == "b")', "version == 1"],
        ),
        ('model == "a" or version == 1', ['model == "a" or version == 1']),
        (' model == "ü" and 1 < version < 3 ', ['model == "ü"', "1 < version < 3"]),
        (
            '(model == "a" and version == 1) and not kind == "tool"',
            ['(model == "a" and version == 1)', 'not kind == "tool"'],
        ),
    ],
)
def test_conjuncts(text: str, parts: list[str]) -> None:
    """A filter is cut into the conditions that must all hold, as they are written."""
    assert conjuncts(text) == parts


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", set()),
        ('model == "a"', {"model"}),
        ('not (tags["kind"] == 1 or 1 < version < 3)', {"tags", "version"}),
    ],
)
def test_fields(text: str, fields: set[str]) -> None:
    """The fields of a filter are those that it looks at, wherever they stand."""
    assert fields_of(parse(text)) == fields
