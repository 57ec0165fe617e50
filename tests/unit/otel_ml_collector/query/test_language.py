"""Tests of the filter language: valid filters, and the position of errors."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.records import Run, columns_of
from otel_ml_collector.completion import read_caret
from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.fields import FIELD_NAMES, Kind
from otel_ml_collector.filter.grammar import (
    Ago,
    Both,
    Duration,
    Either,
    Field,
    FieldComparison,
    Not,
    Tree,
    conjuncts,
    fields_of,
    parse,
)
from otel_ml_collector.filter.sql import compile_filter
from tests.support.examples import examples

EXPECTED_FIELD: Final = 'Expected a field such as model, tags["client"] or inputs.items[0]'
EXPECTED_COMPARISON: Final = "Expected a comparison such as latency_ms > 200, found "


def compared(
    field: str, operator: str, value: object, *, key: str | None = None, at: tuple[int, int]
) -> FieldComparison:
    """Make a comparison whose field and value are at the given columns."""
    path = () if key is None else (key,)
    return FieldComparison(Field(field, path, at[0]), operator, value, at[1])  # type: ignore[arg-type]


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
        ('"refund" in input', compared("inputs", "contains", "refund", at=(12, 0))),
        ('"a" not in output.b', compared("outputs", "not contains", "a", key="b", at=(11, 0))),
        ('"client" in tags', compared("tags", "contains", "client", at=(12, 0))),
        ("tags.client == 1", compared("tags", "==", 1, key="client", at=(0, 15))),
        (r'matches(model, "\d+")', compared("model", "matches", r"\d+", at=(8, 15))),
        ('parent == ""', compared("parent_run_id", "==", "", at=(0, 10))),
        ('last("90m")', compared("start", "within", Ago(5_400 * 10**9), at=(0, 0))),
        ('last("yesterday")', compared("start", "within", Ago(0, "yesterday"), at=(0, 0))),
        ('start < last("today")', compared("start", "<", Ago(0, "today"), at=(0, 8))),
        ('start > last("2w")', compared("start", ">", Ago(14 * 86_400 * 10**9), at=(0, 8))),
        ("latency > 1.5s", compared("latency", ">", Duration(1_500_000_000), at=(0, 10))),
        ("20ms < latency_ms", compared("latency_ms", ">", Duration(20_000_000), at=(7, 0))),
        ('session == "1s"', compared("session", "==", "1s", at=(0, 11))),
        ("last(90m)", compared("start", "within", Ago(5_400 * 10**9), at=(0, 0))),
        ('passed["j"]', compared("passed", "==", value=True, key="j", at=(0, 0))),
        ("not cached", Not(compared("cached_tokens", "!=", 0, at=(4, 4)))),
        ("model", compared("model", "!=", "", at=(0, 0))),
        ("inputs.is_new", compared("inputs", "is", value=True, key="is_new", at=(0, 0))),
        ("client==Remax", compared("tags", "==", "Remax", key="client", at=(0, 8))),
    ],
)
def test_comparison(text: str, tree: Tree | None) -> None:
    """A comparison is parsed into its field, operator, value and columns."""
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("inputs.a.b == 1", ("a", "b")),
        ('inputs["a"]["b c"] == 1', ("a", "b c")),
        ("inputs.items[0].sku == 1", ("items", 0, "sku")),
        ("inputs[-2] == 1", (-2,)),
        ('inputs[""] == 1', ("",)),
    ],
)
def test_path(text: str, path: tuple[str | int, ...]) -> None:
    """A path into a field is written with dots, keys and indices."""
    tree = parse(text)
    assert isinstance(tree, FieldComparison)
    assert (tree.field.name, tree.field.path) == ("inputs", path)


def test_slices() -> None:
    """A Raymon slice is a conjunction of conditions on tags, whatever the tag names are."""
    assert parse("client==Remax && app==v1.0.0 && SDK Version!='1 && 2' && ms>=5") == Both(
        [
            compared("tags", "==", "Remax", key="client", at=(0, 8)),
            compared("tags", "==", "v1.0.0", key="app", at=(17, 22)),
            compared("tags", "!=", "1 && 2", key="sdk_version", at=(32, 45)),
            compared("tags", ">=", 5.0, key="ms", at=(57, 61)),
        ]
    )


def test_quoted_ampersands() -> None:
    """An operator inside quotes is part of the text."""
    assert parse('"a && b" in input') == compared("inputs", "contains", "a && b", at=(12, 0))


def test_chain() -> None:
    """A chained comparison holds if each of its pairs does."""
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
        ("model =", 'Cannot read "=": write ==', 6),
        ('model = "a"', 'Cannot read "=": write ==', 6),
        ('latency_ms > 5 || model == "a"', 'Cannot read "||": write or', 15),
        ('latency_ms > and outcome == "%"', "Something is missing after >", 13),
        ('model == "a" and', "Something is missing after and", 16),
        ('model == "a', "Cannot read this filter: unterminated string literal", 9),
        ('  model == "a', "Cannot read this filter: unterminated string literal", 11),
        ("(model == 1", "Cannot read this filter: '(' was never closed", 0),
        ('"ü" == model and', "Something is missing after and", 16),
        ("start > 2026-11-01", 'Cannot read "2026-11-01": write "2026-11-01" in quotes', 8),
        (
            "passed.names-order",
            f'{EXPECTED_COMPARISON}passed.names-order; write passed["names-order"]',
            0,
        ),
        ("others", f"{EXPECTED_COMPARISON}others", 0),
        ("True", f"{EXPECTED_COMPARISON}True", 0),
        ('model == "ü" and x', f"{EXPECTED_COMPARISON}x", 17),
        (
            "model == other",
            "Expected a text, a number, True or False, found other; put a text in quotes",
            9,
        ),
        ('model == "日本" or model == None', "Expected a text, a number, True or False", 26),
        ('1 == "a"', 'Expected a field and a value, found 1 and "a"', 0),
        ('model is "a"', "Expected one of == != < <= > >= in", 0),
        ('model in "answer"', 'Expected values in parentheses such as ("a", "b")', 9),
        ("tags[model] == 1", EXPECTED_FIELD, 0),
        ('tags["a":"b"] == 1', EXPECTED_FIELD, 0),
        ("inputs[1.5] == 1", EXPECTED_FIELD, 0),
        ('inputs["a"]().b == 1', EXPECTED_FIELD, 0),
        ("inputs" + ".a" * 21 + " == 1", "The path has 21 steps: expected at most 20", 0),
        ("3 in input", "Expected a text in quotes before in, found 3", 0),
        ("kind == 1 and find(model)", "Unknown function find: expected matches(model, ", 14),
        ("matches(model)", 'Expected a field and a pattern, as in matches(model, "^gpt")', 0),
        ('matches(model, x="a")', "Expected a field and a pattern", 0),
        ("matches(model, 5)", "Expected a pattern in quotes, found 5", 15),
        (f'matches(model, "{"a" * 201}")', "The pattern has 201 characters: expected at most", 15),
        ("last()", "Expected a time such as", 0),
        ('last("1 year")', "Expected a time such as", 5),
        ('last("0h")', "Expected a time such as", 5),
        ('start > last("9999999w")', "Expected a time such as", 13),
        ('model == "a" && version >= 2', "Expected a slice such as client==Remax, found", 0),
        ("client==Remax && ", "Expected a slice such as client==Remax, found ''", 17),
        ("client==Remax && or", "Expected a slice such as client==Remax, found 'or'", 17),
        ("client==Remax && ms>fast", "Expected a number, found 'fast'", 20),
        ("model == b'a'", "Expected a text, a number, True or False, found b'a'", 9),
        ("version == 1j", "Expected a text, a number, True or False, found 1j", 11),
        ("version == ...", "Expected a text, a number, True or False, found ...", 11),
        ("version == 1 + 1", "Expected a text, a number, True or False, found 1 + 1", 11),
        ("version == ~1", "Expected a text, a number, True or False, found ~1", 11),
        ('version == -"a"', "Expected a text, a number, True or False, found", 11),
    ],
)
def test_error(text: str, message: str, column: int) -> None:
    """An invalid filter is rejected with the expected syntax and the column of the error."""
    with pytest.raises(BadInput) as caught:
        parse(text)
    assert str(caught.value).startswith(message)
    assert (caught.value.field, caught.value.column) == ("where", column)


@pytest.mark.parametrize(
    ("text", "column"), [('(model == "a"\n and other)', 19), ('(model == "a"\n and =)', 19)]
)
def test_error_in_a_later_line(text: str, column: int) -> None:
    """The column counts from the start of the whole text, even over several lines."""
    with pytest.raises(BadInput) as caught:
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
    """Code in a filter is rejected and never run."""
    file = tmp_path / "touched"
    with pytest.raises(BadInput):
        parse(text.format(file=file))
    assert not file.exists()


@pytest.mark.parametrize(
    "text",
    [
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
    """Anything but comparisons of fields and values is rejected, however nested or long it is."""
    with pytest.raises(BadInput):
        parse(text)


def test_long_filter() -> None:
    """A filter of more than 4,000 characters is rejected with its length."""
    with pytest.raises(BadInput, match=r"^The filter has 4001 characters: expected at most 4000$"):
        parse('model == "' + "x" * 3_990 + '"')


def test_longest_filter() -> None:
    """A filter of 4,000 characters is read."""
    name = "x" * 3_989
    assert parse(f'model == "{name}"') == compared("model", "==", name, at=(0, 9))


PIECES: Final = [
    *("model", "input", "tags", "scores", "inputs.a", "[", "]", "(", ")", '"', "'", "\\", ","),
    *("==", "!=", "<", "<=", " in ", " not in ", " and ", " or ", "not ", "&&", ".", "-", "5"),
    *('"a"', '["k"]', "matches(", "last(", '"1h"', "\n", "\0", "\ud800", "é", "日", " ", "#"),
]


@settings(max_examples=examples(400))
@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=40).map("".join)))
def test_any_text(text: str) -> None:
    """Any text is either a filter or rejected with a column inside the text."""
    try:
        compile_filter(text)
    except BadInput as error:
        assert error.field == "where"  # noqa: PT017 - both outcomes are correct
        assert error.column is not None  # noqa: PT017
        assert 0 <= error.column <= len(text)  # noqa: PT017
        return
    assert " and ".join(conjuncts(text)) or not text.strip()


@settings(max_examples=examples(300))
@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=40).map("".join)))
def test_any_beginning(text: str) -> None:
    """The start of the word at the end of any text is inside the text, and its prefix ends it."""
    caret = read_caret(text)
    assert 0 <= caret.start <= len(text)
    assert text.endswith(caret.prefix)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 4_000,
        "a." * 2_000,
        "&&" * 2_000,
        " " * 4_000,
        "a" * 4_000,
        "not " * 1_000,
        "<" * 4_000,
    ],
    ids=lambda text: text[:4],
)
def test_quickly(text: str) -> None:
    """A text designed to be slow is parsed within 2 seconds."""
    begin = time.process_time()
    with suppress(BadInput):
        compile_filter(text)
    read_caret(text)
    assert time.process_time() - begin < 2


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
        ("client==Remax && app!=v1", ["tags['client'] == 'Remax'", "tags['app'] != 'v1'"]),
        (' model == "ü" and 1 < version < 3 ', ['model == "ü"', "1 < version < 3"]),
        (
            '(model == "a" and version == 1) and not kind == "tool"',
            ['(model == "a" and version == 1)', 'not kind == "tool"'],
        ),
    ],
)
def test_conjuncts(text: str, parts: list[str]) -> None:
    """A filter is split into the conditions that must all hold, in their original spelling."""
    assert conjuncts(text) == parts


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", set()),
        ('model == "a"', {"model"}),
        ('not (tags["kind"] == 1 or 1 < version < 3)', {"tags", "version"}),
        ('last("1h") and "a" in input', {"start", "inputs"}),
    ],
)
def test_fields(text: str, fields: set[str]) -> None:
    """The fields of a filter are all fields that its conditions use."""
    assert fields_of(parse(text)) == fields


# Columns of a run that filters reach under another name, or that are internal.
NO_FIELDS: Final = {
    *("project", "start_ns", "span_id", "parent_span_id"),
    *("structure", "inputs_preview", "outputs_preview", "process", "seq", "arrived_ns", "rank"),
    *("logs", "events", "links", "scope"),
}


def test_every_column_of_a_run_is_a_field() -> None:
    """Every column of a run is a field of the language, with the kind of its column."""
    kinds = {}
    for name, (_, column) in columns_of(Run).items():
        if name in NO_FIELDS:
            assert name not in FIELD_NAMES, name
        elif column.is_payload:
            kinds[name] = Kind.PAYLOAD if name in {"inputs", "outputs"} else Kind.JSON
        elif name == "tags":
            kinds[name] = Kind.TAG
        else:
            is_number = "Int" in column.sql or "Float64" in column.sql
            kinds[name] = Kind.NUMBER if is_number else Kind.TEXT
    assert {name: FIELD_NAMES[name].kind for name in kinds} == kinds
