"""Strategies that draw filters, each with the equivalent Python predicate over an API run."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from hypothesis import strategies as st

from otel_ml_collector.times import to_rfc3339
from tests.support.otel_ml_collector.spans import NOW_NS, SECOND_NS

MODELS: Final = ["answer", "search", 'o\'brien "x" \\ 日本']
KINDS: Final = ["model", "chain", "tool", "span"]
OUTCOMES: Final = ["ok", "error", "cancelled", "abandoned", "running", "crashed"]
SESSIONS: Final = ["", "s-1", "it's\n\t\\"]
TAGS: Final = ["client", "size", "late", "a b"]
TAG_VALUES: Final[list[str | int | float | bool]] = [
    "bigshot",
    "120",
    "0.5",
    "",
    "true",
    3,
    120,
    -7,
    0.5,
    True,
    False,
]
MESSAGES: Final = ["timed out after 3 s", "100% wrong_", ""]
JUDGES: Final = ["grounded", "polite"]
TRUTH: Final = "churned"
ACTUALS: Final[list[str | int | float | bool | list[str | int]]] = [
    "yes",
    "no",
    "",
    3,
    0.5,
    True,
    False,
    ["yes", 3],
    [],
]

# A filter is its text plus a hand-written Python function that says whether an API run matches.
Holds = Callable[[Mapping[str, Any]], bool]
Filter = tuple[str, Holds]
OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": lambda a, b: bool(a == b),
    "!=": lambda a, b: bool(a != b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
    "in": lambda a, b: a in b,
    "not in": lambda a, b: a not in b,
}
ORDER: Final = ("<", "<=", ">", ">=")
MIRRORED: Final = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def as_text(value: object) -> str:
    """Return a tag's value as text. Filters treat the tags 3 and "3" as equal."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_number(value: object) -> float | None:
    """Return a tag's value as a number for order comparisons. Numeric text counts as a number."""
    if isinstance(value, bool):
        return None
    try:
        return float(str(value))
    except ValueError:
        return None


def texts(
    field: str, values: Sequence[str], read: Callable[[Mapping[str, Any]], str] | None = None
) -> st.SearchStrategy[Filter]:
    """Draw filters on a text field: comparisons, substring searches and pattern matches."""
    told = read or (lambda run: str(run[field]))

    def make(shape: str, value: str, more: list[str], cut: int) -> Filter:
        if shape in {"in", "not in"}:
            return f"{field} {shape} {more!r}", lambda run: OPERATORS[shape](told(run), more)
        if shape == "searched":
            return f"{value[:cut]!r} in {field}", lambda run: value[:cut] in told(run)
        if shape == "not searched":
            return f"{value[:cut]!r} not in {field}", lambda run: value[:cut] not in told(run)
        if shape == "matched":
            pattern = f"{re.escape(value[:cut])}.?$"
            return f"matches({field}, {pattern!r})", lambda run: bool(
                re.search(f"{re.escape(value[:cut])}.?\\Z", told(run), re.DOTALL)
            )
        return f"{field} {shape} {value!r}", lambda run: OPERATORS[shape](told(run), value)

    return st.builds(
        make,
        st.sampled_from(["==", "!=", "in", "not in", "searched", "not searched", "matched"]),
        st.sampled_from(values),
        st.lists(st.sampled_from(values), max_size=3),
        st.integers(0, 8),
    )


def trace_keys() -> st.SearchStrategy[Filter]:
    """Draw filters on the keys of a trace. One matching key is enough."""
    values = [*(f"key {number}" for number in range(9)), "", "nobody's"]

    def make(operator: str, value: str) -> Filter:
        def holds(run: Mapping[str, Any]) -> bool:
            keys = run["keys"] or {""}
            if operator in {"in", "not in"}:
                return any(value in key for key in keys) == (operator == "in")
            return (value in keys) == (operator == "==")

        if operator in {"in", "not in"}:
            return f"{value!r} {operator} trace_key", holds
        return f"trace_key {operator} {value!r}", holds

    return st.builds(make, st.sampled_from(["==", "!=", "in", "not in"]), st.sampled_from(values))


def times(field: str, read: Callable[[Mapping[str, Any]], int | None]) -> st.SearchStrategy[Filter]:
    """Draw filters on a time field."""

    def make(operator: str, ago_s: int) -> Filter:
        moment_ns = NOW_NS - ago_s * SECOND_NS
        return f"{field} {operator} {to_rfc3339(moment_ns)!r}", lambda run: _known(
            read(run), lambda n: OPERATORS[operator](n, moment_ns)
        )

    return st.builds(make, st.sampled_from(ORDER), st.integers(0, 310))


def members(mapping: str, names: Sequence[str]) -> st.SearchStrategy[Filter]:
    """Draw filters on whether a mapping contains a name."""

    def make(name: str, *, is_in: bool) -> Filter:
        word = "in" if is_in else "not in"
        return f"{name!r} {word} {mapping}", lambda run: (name in run[mapping]) == is_in

    return st.builds(make, st.sampled_from(names), is_in=st.booleans())


def tag_texts(name: str) -> st.SearchStrategy[Filter]:
    """Draw substring filters on a tag's value. A run without the tag never matches."""

    def make(needle: str, *, is_in: bool) -> Filter:
        return (
            f"{needle!r} {'in' if is_in else 'not in'} tags[{name!r}]",
            lambda run: name in run["tags"] and (needle in as_text(run["tags"][name])) == is_in,
        )

    return st.builds(make, st.sampled_from(["big", "2", ".", "", "true"]), is_in=st.booleans())


def _end(run: Mapping[str, Any]) -> int | None:
    latency = run["latency_ms"]
    return None if latency is None else int(run["start_ns"] + round(latency * 1e6))


def numbers(
    field: str,
    read: Callable[[Mapping[str, Any]], float | None],
    values: Sequence[float],
    operators: Sequence[str] = tuple(MIRRORED),
) -> st.SearchStrategy[Filter]:
    """Draw plain, mirrored and chained filters on a number. A run without one never matches."""

    def make(operator: str, one: float, two: float, shape: int) -> Filter:
        compare = OPERATORS[operator]
        if shape == 0:
            return f"{field} {operator} {one!r}", lambda run: _known(
                read(run), lambda n: compare(n, one)
            )
        if shape == 1:
            return f"{one!r} {MIRRORED[operator]} {field}", lambda run: _known(
                read(run), lambda n: compare(n, one)
            )
        return f"{one!r} <= {field} {operator} {two!r}", lambda run: _known(
            read(run), lambda n: one <= n and compare(n, two)
        )

    return st.builds(
        make,
        st.sampled_from(operators),
        st.sampled_from(values),
        st.sampled_from(values),
        st.integers(0, 2),
    )


def _known(value: float | None, holds: Callable[[float], bool]) -> bool:
    return value is not None and holds(value)


def tags(name: str) -> st.SearchStrategy[Filter]:
    """Draw equality filters on a tag. A run without the tag never matches."""
    field = f"tags[{name!r}]"

    def make(operator: str, value: object, more: list[object]) -> Filter:
        wanted = more if operator in {"in", "not in"} else [value]
        known = [as_text(item) for item in wanted]
        shown = repr(tuple(more)) if operator in {"in", "not in"} else repr(value)

        def holds(run: Mapping[str, Any]) -> bool:
            if name not in run["tags"]:
                return False
            return (as_text(run["tags"][name]) in known) != (operator in {"!=", "not in"})

        return f"{field} {operator} {shown}", holds

    return st.builds(
        make,
        st.sampled_from(["==", "!=", "in", "not in"]),
        st.sampled_from(TAG_VALUES),
        st.lists(st.sampled_from(TAG_VALUES), max_size=3),
    )


def words(field: str, name: str) -> st.SearchStrategy[Filter]:
    """Draw filters on ground truth or a label.

    Types are compared strictly, and a run without a value never matches.
    """

    def is_same(one: object, other: object) -> bool:
        kinds = {bool if isinstance(item, bool) else float for item in (one, other)}
        both = {isinstance(item, str) for item in (one, other)}
        return one == other and (both == {True} or (both == {False} and len(kinds) == 1))

    def make(operator: str, value: object, more: list[object]) -> Filter:
        shown = repr(tuple(more)) if operator in {"in", "not in"} else repr(value)
        wanted = more if operator in {"in", "not in"} else [value]

        def holds(run: Mapping[str, Any]) -> bool:
            if name not in run[field]:
                return False
            told = run[field][name]
            if operator in ORDER:
                is_number = isinstance(told, int | float) and not isinstance(told, bool)
                return is_number and OPERATORS[operator](told, 1)
            return any(is_same(told, one) for one in wanted) != (operator in {"!=", "not in"})

        return f"{field}[{name!r}] {operator} {1 if operator in ORDER else shown}", holds

    def contain(wanted: str) -> Filter:
        return (
            f"{wanted!r} in {field}[{name!r}]",
            lambda run: isinstance(run[field].get(name), str | list) and wanted in run[field][name],
        )

    plain = st.sampled_from([one for one in ACTUALS if not isinstance(one, list)])
    return st.one_of(
        st.builds(
            make,
            st.sampled_from(["==", "!=", "in", "not in", *ORDER]),
            plain,
            st.lists(plain, max_size=3),
        ),
        st.just((f"{field}[{name!r}]", lambda run: bool(run[field].get(name)))),
        st.sampled_from(["yes", "e"]).map(contain),
    )


def passed(judge: str) -> st.SearchStrategy[Filter]:
    """Draw filters on whether a run passed. A run without a verdict never matches."""

    def make(operator: str, *, value: bool) -> Filter:
        return (
            f"passed[{judge!r}] {operator} {value}",
            lambda run: judge in run["passed"] and OPERATORS[operator](run["passed"][judge], value),
        )

    return st.builds(make, st.sampled_from(["==", "!="]), value=st.booleans())


def lengths(field: str) -> st.SearchStrategy[Filter]:
    """Draw filters on a duration with a unit. Runs without an end never match."""
    units = {"ms": 1.0, "s": 1_000.0, "us": 0.001}

    def make(operator: str, number: float, unit: str) -> Filter:
        length_ms = number * units[unit]
        shown = f"{number:g}{unit}"
        return f"{field} {operator} {shown}", lambda run: _known(
            run["latency_ms"], lambda n: OPERATORS[operator](n, length_ms)
        )

    numbers_of = st.sampled_from([0, 0.05, 0.2, 0.25, 1, 50, 150, 200, 150_000])
    return st.builds(make, st.sampled_from(tuple(MIRRORED)), numbers_of, st.sampled_from([*units]))


def truths() -> st.SearchStrategy[Filter]:
    """Draw filters that are a bare field. A run matches if Python treats its value as true."""
    fields: dict[str, Holds] = {
        "session": lambda run: bool(run["session"]),
        "error_message": lambda run: bool(run["error_message"]),
        "parent": lambda run: bool(run["parent_run_id"]),
        "trace_key": lambda run: bool(run["keys"]),
        "latency": lambda run: bool(run["latency_ms"]),
        "latency_ms": lambda run: bool(run["latency_ms"]),
        "input_tokens": lambda run: bool(run["tokens"]["input"]),
        "cached": lambda run: bool(run["tokens"]["cached"]),
        "cost": lambda run: bool(run["cost"]),
        "version": lambda run: bool(run["version"]),
        "start": lambda run: True,
        "end": lambda run: run["latency_ms"] is not None,
    }
    for name in TAGS:
        fields[f"tags[{name!r}]"] = lambda run, name=name: (  # type: ignore[misc]  # bound now
            as_text(run["tags"].get(name, "")) not in {"", "0", "0.0", "false"}
        )
    for judge in JUDGES:
        fields[f"scores[{judge!r}]"] = lambda run, judge=judge: bool(  # type: ignore[misc]
            run["scores"].get(judge)
        )
        fields[f"passed[{judge!r}]"] = lambda run, judge=judge: bool(  # type: ignore[misc]
            run["passed"].get(judge)
        )
    return st.sampled_from(sorted(fields)).map(lambda name: (name, fields[name]))


def tag_number(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda run: as_number(run["tags"][name]) if name in run["tags"] else None


def score(judge: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda run: run["scores"].get(judge)


comparisons = st.one_of(
    texts("model", [*MODELS, "unknown"]),
    texts("kind", KINDS),
    texts("outcome", OUTCOMES),
    texts("session", SESSIONS),
    texts("digest", ["aa", "bb", ""]),
    texts("error_message", MESSAGES),
    texts("run_id", [f"{number:032x}-{number:016x}" for number in (1, 7, 9, 400)]),
    texts("trace_id", [f"{number:032x}" for number in (1, 3, 400)]),
    texts(
        "parent",
        [*(f"{number:032x}-{number:016x}" for number in (3, 7, 11)), ""],
        lambda run: run["parent_run_id"] or "",
    ),
    trace_keys(),
    times("start", lambda run: int(run["start_ns"])),
    times("end", _end),
    members("tags", TAGS),
    members("scores", [*JUDGES, "nobody"]),
    members("passed", JUDGES),
    members("truth", [TRUTH, *JUDGES]),
    members("label", JUDGES),
    words("truth", TRUTH),
    *(words(field, judge) for field in ("truth", "label") for judge in JUDGES),
    tag_texts("client"),
    numbers("input_tokens", lambda run: run["tokens"]["input"], [0, 5, 100]),
    numbers("latency_ms", lambda run: run["latency_ms"], [0, 50, 150.0, 199.5, 250, -1]),
    numbers("version", lambda run: run["version"], [1, 2, 3, 1.5, 99]),
    *(tags(name) for name in TAGS),
    *(numbers(f"tags[{tag!r}]", tag_number(tag), [3, 120, 0.5, -7], ORDER) for tag in TAGS),
    *(numbers(f"scores[{judge!r}]", score(judge), [0, 0.25, 0.5, 1]) for judge in JUDGES),
    *(passed(judge) for judge in JUDGES),
    lengths("latency"),
    lengths("latency_ms"),
    truths(),
    truths(),
)


def _negate(inner: Filter) -> Filter:
    return f"not ({inner[0]})", lambda run: not inner[1](run)


def _join(word: str, parts: list[Filter]) -> Filter:
    join = all if word == "and" else any
    text = f" {word} ".join(f"({part[0]})" for part in parts)
    return text, lambda run: join(part[1](run) for part in parts)


def joined(parts: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    """Draw compound filters: negations, and parts joined by ``and`` or ``or``."""
    return st.recursive(
        parts,
        lambda inner: st.one_of(
            st.builds(_negate, inner),
            st.builds(
                _join, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3)
            ),
        ),
        max_leaves=6,
    )


filters = joined(comparisons)
