"""The filter language: a Python boolean expression on runs, which is parsed and never evaluated.

``model == "answer" and latency_ms > 200 and tags["client"] == "bigshot" and "refund" in input``

`Expression` is the grammar of all conditions: boolean operators, positions and errors. The
vocabulary defines what can be compared: fields of runs here, figures in `filter.figures`.

Raymon's slices, ``client==Remax && app==v1.0.0``, are conditions on tags, joined by "and".
"""

import ast
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.fields import FIELD_NAMES, SHORT, Kind, is_field, nearest
from otel_ml_collector.times import UNITS_NS
from otel_ml_collector.windows import DAY_NAMES, MOST_LAST_NS, read_last_ns

_MAX_CHARS: Final = 4_000
_MAX_NODES: Final = 1_000
_MAX_PATH: Final = 20
_MAX_PATTERN: Final = 200
_PARSES: Final = 20
_UNIT: Final = re.compile(r"\d[smhdwun]", re.ASCII)  # perhaps a length
_LENGTH: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|us|ns|[smhdw])", re.ASCII)
# A text in quotes is a single token, so operators and durations inside it are not found.
_TOKEN: Final = re.compile(
    r"(?P<text>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')|(?P<quote>[\"'])|(?P<name>[^\W\d]\w*)"
    r"|(?P<number>\d[\w.]*)|(?P<sign>==|!=|<=|>=|&&|[<>()\[\],.=-])|(?P<other>\S)",
    re.DOTALL,
)
_LAST_FUNCTION: Final = "last"
_MATCHES: Final = "matches"
_EXAMPLE: Final = 'Expected a field such as model, tags["client"] or inputs.items[0]'
# Operators of comparisons, by their class in Python's syntax tree.
OPERATORS: Final = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.NotIn: "not in",
}
# Operators if the field is on the right: `5 < x` is `x > 5`, and `"a" in x` is `x contains "a"`.
_MIRRORED: Final = {
    "==": "==",
    "!=": "!=",
    "<": ">",
    "<=": ">=",
    ">": "<",
    ">=": "<=",
    "in": "contains",
    "not in": "not contains",
}

# Parts of a slice such as ``client==Remax``: the name, and the value without or with quotes.
_NAME: Final = re.compile(r"[\w @./-]+", re.ASCII)
_BARE: Final = re.compile(r"[^\s\"'&|<>=!()\[\]]+")
_QUOTED: Final = re.compile(r"\"[^\"\\]*\"|'[^'\\]*'")
# Notations of other languages, each with the correct one to suggest in the error message.
_MISTAKES: Final[Sequence[tuple[re.Pattern[str], Callable[[re.Match[str]], str]]]] = (
    (re.compile(r"(\d+(?:\.\d+)?) ?%(?!\s*\w)"), lambda found: f"{float(found[1]) / 100:.6g}"),
    (re.compile(r"(?<![=<>!])=(?!=)"), lambda _: "=="),
    (re.compile(r"\|\|"), lambda _: "or"),
    (re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ][\d:.]+Z?)?"), lambda found: f'"{found[0]}" in quotes'),
)
# A name with a hyphen after a dot, which Python reads as a subtraction.
_HYPHENED: Final = re.compile(r"(\w+)\.(\w+(?:-\w+)+)")
_UNFINISHED: Final = re.compile(r"(==|!=|[<>]=?|\b(?:and|or|not|in)\b)\s*(?=$|\)|\b(?:and|or)\b)")
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_REFUSED: Final = re.compile(r"[^a-z0-9_\-@./]")
_CONSTANTS: Final = ("True", "False", "None")
_AND: Final = "&&"
# Characters that a slice on its own cannot contain, because its value has no quotes.
_NO_SLICE: Final = re.compile(r"[\"'()\[\]]")

# Python warns about unknown escapes such as "\d", which are valid in regular expressions. The lock
# is needed because `warnings.catch_warnings` changes the whole process.
_WARNED: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Ago:
    """A period that is given relative to now: ``last("24h")`` or ``last("today")``.

    Attributes:
        length_ns: Length in nanoseconds of a period that ends now. Not used if `day` is given.
        day: ``today`` or ``yesterday``; else empty.
    """

    length_ns: int
    day: str = ""


@dataclass(frozen=True, slots=True)
class Duration:
    """A duration, such as ``200ms`` or ``1.5s``."""

    length_ns: int


Constant = str | int | float | bool | Ago | Duration


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a run with a path into it: ``tags["client"]``, ``inputs.items[0]``."""

    name: str
    path: tuple[str | int, ...]
    column: int

    @property
    def key(self) -> str | None:
        """The key of a path with a single step, such as ``client`` in ``tags["client"]``."""
        if len(self.path) == 1 and isinstance(self.path[0], str):
            return self.path[0]
        return None


@dataclass(frozen=True, slots=True)
class FieldComparison:
    """A comparison of a field with a constant, or with several constants for ``in``.

    Attributes:
        operator: One of ``== != < <= > >= in``, ``not in``; ``contains`` and ``not contains`` for a
            text in the field; ``matches`` for a regular expression; ``is`` for JSON that is true in
            Python's sense; ``within`` for start times in a recent period, such as
            ``last("24h")``, or on one day, such as ``last("yesterday")``.
        column: Position of the value in the text of the filter.
    """

    field: Field
    operator: str
    value: Constant | tuple[Constant, ...]
    column: int


Leaf = TypeVar("Leaf")


@dataclass(frozen=True, slots=True)
class Not(Generic[Leaf]):
    """True if its part is false."""

    part: "TreeOf[Leaf]"


@dataclass(frozen=True, slots=True)
class Both(Generic[Leaf]):
    """True if all its parts are true."""

    parts: "Sequence[TreeOf[Leaf]]"


@dataclass(frozen=True, slots=True)
class Either(Generic[Leaf]):
    """True if any of its parts is true."""

    parts: "Sequence[TreeOf[Leaf]]"


# A condition on comparisons, or on other parts that are true or false.
TreeOf: TypeAlias = Not[Leaf] | Both[Leaf] | Either[Leaf] | Leaf
Tree: TypeAlias = TreeOf[FieldComparison]

# Meaning of a field without a comparison. As in Python, it is true if it is not empty and not 0.
_TRUTH: Final[Mapping[Kind, tuple[str, Constant | tuple[Constant, ...]]]] = {
    Kind.TEXT: ("!=", ""),
    Kind.REASON: ("!=", ""),
    Kind.DIGEST: ("!=", ""),
    Kind.NUMBER: ("!=", 0),
    Kind.DURATION: ("!=", Duration(0)),
    Kind.TIME: (">=", "1970-01-01"),
    Kind.TAG: ("not in", ("", 0, False)),
    Kind.SCORE: ("!=", 0),
    Kind.METRIC: ("!=", 0),
    Kind.PASSED: ("==", True),
    Kind.WORD: ("is", True),
    Kind.JUDGE_VERSION: ("!=", ""),
    Kind.PAYLOAD: ("is", True),
    Kind.JSON: ("is", True),
}


def parse(text: str) -> Tree | None:
    """Parse a filter.

    Args:
        text: The expression, or slices such as ``client==Remax && app==v1.0.0``; empty for no
            filter.

    Returns:
        The tree, or None for no filter.

    Raises:
        BadInput: The text is not a valid filter. The error points at the column.
    """
    if not text.strip():
        return None
    if len(text) <= _MAX_CHARS and (slices := _find_slices(text)):
        return slices[0] if len(slices) == 1 else Both(slices)
    return RunExpression(text).condition


def read_field(text: str) -> Field:
    """Read a field with its path, such as ``tags["client"]``, without a comparison.

    Raises:
        BadInput: The text is not a field.
    """
    tree = parse(f"{text} == 0")
    if (
        isinstance(tree, FieldComparison)
        and tree.operator == "=="
        and tree.field.name in FIELD_NAMES
    ):
        return tree.field
    raise bad(f"Unknown field {text[:80]!r}", 0)


def step_into(value: Any, path: Sequence[str | int]) -> Any:
    """Return the value at a path of a JSON value; None if there is none."""
    for step in path:
        if isinstance(value, Mapping) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value


def split_list(text: str) -> list[str]:
    """Split a list of fields at its commas, except those within quotes or brackets."""
    parts, depth, quote = [""], 0, ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        depth += (char in "([") - (char in ")]") if not quote else 0
        if char == "," and not quote and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts if part.strip()]


def conjuncts(text: str) -> list[str]:
    """Split a valid filter into the conditions that must all hold, as they are written.

    Slices are returned as conditions on tags.
    """
    if not text.strip():
        return []
    if slices := _find_slices(text):
        return [f"tags[{item.field.key!r}] {item.operator} {item.value!r}" for item in slices]
    expression = RunExpression(text)
    root = expression.root
    if not (isinstance(root, ast.BoolOp) and isinstance(root.op, ast.And)):
        return [expression.text]
    # Put parts that need parentheses into parentheses: `and` binds tighter than `or`.
    return [
        f"({expression.written(part)})"
        if isinstance(part, ast.BoolOp)
        else expression.written(part)
        for part in root.values
    ]


def comparisons_of(tree: Tree | None) -> Iterator[FieldComparison]:
    """Yield the comparisons of a filter in the order of the text."""
    if isinstance(tree, FieldComparison):
        yield tree
    elif isinstance(tree, Not):
        yield from comparisons_of(tree.part)
    elif tree is not None:
        for part in tree.parts:
            yield from comparisons_of(part)


def fields_of(tree: Tree | None) -> set[str]:
    """Return the fields that a filter uses."""
    return {comparison.field.name for comparison in comparisons_of(tree)}


def bad(message: str, column: int) -> BadInput:
    """Return an error that points at a column of the filter."""
    return BadInput(message, "where", column)


class Token(NamedTuple):
    """A token of a filter's text. A quote that is not closed is a token of its own."""

    sort: Literal["text", "quote", "name", "number", "sign", "other"]
    text: str
    start: int
    end: int


def read_tokens(text: str) -> list[Token]:
    """Split any text into tokens, without white space."""
    return [
        Token(match.lastgroup, match[0], match.start(), match.end())  # type: ignore[arg-type] # the names of the groups
        for match in _TOKEN.finditer(text)
    ]


class Expression(Generic[Leaf]):
    """A condition in Python's grammar, with the positions of its parts.

    Args:
        text: The condition.

    Raises:
        BadInput: The text is invalid.

    Attributes:
        noun: The word for the text in error messages, such as ``filter``.
        place: Name of the parameter or option that contains the text, such as ``where``; for error
            messages.
    """

    noun = "filter"
    place = "where"

    def __init__(self, text: str) -> None:
        if len(text) > _MAX_CHARS:
            message = f"The {self.noun} has {len(text)} characters: expected at most {_MAX_CHARS}"
            raise self.bad(message, 0)
        self.text = text.strip()
        self._indent = len(text) - len(text.lstrip())
        self._lines = self.text.splitlines(keepends=True)
        self._is_plain = len(self._lines) == 1 and self.text.isascii()
        self._lengths_ns: dict[int, int] = {}
        try:
            self.root = _parse(self._without_lengths())
        except SyntaxError as error:
            raise self._explain(error) from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise self.bad(f"Cannot read this {self.noun}", 0) from error
        # Count the nodes of long texts only: a character makes at most two, such as a name and its
        # `Load`.
        if 3 * len(text) > _MAX_NODES and sum(1 for _ in ast.walk(self.root)) > _MAX_NODES:
            raise self.bad(f"The {self.noun} has too many parts", 0)

    @property
    def condition(self) -> TreeOf[Leaf]:
        """The parsed condition.

        Raises:
            BadInput: It is not a condition of the language.
        """
        return self._read(self.root)

    def compare(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> Leaf:
        """Read a comparison of two sides.

        Raises:
            BadInput: It is not a comparison of the language.
        """
        raise NotImplementedError

    def read_bare(self, node: ast.expr) -> Leaf:
        """Read a condition that is not a comparison.

        Raises:
            BadInput: It is not a condition.
        """
        raise NotImplementedError

    def bad(self, message: str, column: int) -> BadInput:
        """Return an error that points at a column of the text."""
        return BadInput(message, self.place, column)

    def _read(self, node: ast.expr) -> TreeOf[Leaf]:
        if isinstance(node, ast.BoolOp):
            parts = [self._read(value) for value in node.values]
            return Both(parts) if isinstance(node.op, ast.And) else Either(parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return Not(self._read(node.operand))
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            pairs = [
                self.compare(left, operator, right)
                for left, operator, right in zip(sides, node.ops, sides[1:], strict=False)
            ]
            return pairs[0] if len(pairs) == 1 else Both(pairs)
        return self.read_bare(node)

    def written(self, node: ast.expr) -> str:
        """Return the source text of a part."""
        return ast.get_source_segment(self.text, node) or ""

    def _without_lengths(self) -> str:
        """Replace durations such as ``1.5s`` with numbers of the same width. Store their values."""
        text = self.text
        if not _UNIT.search(text):
            return text
        for token in read_tokens(text):
            match = _LENGTH.fullmatch(token.text) if token.sort == "number" else None
            if match and text[token.start - 1 : token.start] != ".":
                self._lengths_ns[token.start] = round(float(match[1]) * UNITS_NS[match[2]])
                text = text[: token.start] + "0" * len(token.text) + text[token.end :]
        return text

    def length_ns(self, node: ast.expr) -> int | None:
        """Return the duration that a constant represents; None for any other constant."""
        return self._lengths_ns.get(self.column_of(node) - self._indent)

    def refuse(self, expected: str, node: ast.expr, hint: str = "") -> BadInput:
        """Return the error that names the expected form at the position of a part."""
        return self.bad(f"{expected}, found {self.shown(node)}{hint}", self.column_of(node))

    def shown(self, node: ast.expr) -> str:
        """Return the source text of a part, shortened for error messages."""
        return (self.written(node) or "something else")[:40]

    def column_of(self, node: ast.expr) -> int:
        """Return where a part begins, in characters. The syntax tree counts bytes."""
        if self._is_plain:
            return self._indent + node.col_offset
        line = self._lines[node.lineno - 1]
        head = line.encode()[: node.col_offset].decode("utf-8", "ignore")
        return self._indent + sum(map(len, self._lines[: node.lineno - 1])) + len(head)

    def _explain(self, error: SyntaxError) -> BadInput:
        """Return the error for invalid syntax, with a hint for common mistakes."""
        # Blank quoted texts first, because they can contain any operator.
        bare = _QUOTED.sub(lambda match: "_" * len(match[0]), self.text)
        for mistake, remedy in _MISTAKES:
            if match := mistake.search(bare):
                message = f'Cannot read "{match[0]}": write {remedy(match)}'
                return self.bad(message, self._indent + match.start())
        if match := _UNFINISHED.search(bare):
            message = f"Something is missing after {match[1]}"
            return self.bad(message, self._indent + match.end())
        return self.bad(f"Cannot read this {self.noun}: {error.msg}", self._place_of(error))

    def _place_of(self, error: SyntaxError) -> int:
        """Return the position of an error; the end of the text if its end is missing."""
        if not error.offset or error.offset < 0:
            return self._indent + len(self.text)
        above = sum(map(len, self._lines[: (error.lineno or 1) - 1]))
        return self._indent + min(above + error.offset - 1, len(self.text))


class RunExpression(Expression[FieldComparison]):
    """A filter of runs. Each comparison has a field and a constant."""

    def read_bare(self, node: ast.expr) -> FieldComparison:
        """Read a condition without a comparison: a field, ``last(...)`` or ``matches(...)``."""
        if isinstance(node, ast.Call):
            return self._call(node)
        if _is_field(node):
            field = self._field(node)
            if is_field(field.name) or nearest(field.name):
                known = FIELD_NAMES.get(field.name)  # a misspelled name is reported later
                operator, value = _TRUTH[known.kind if known else Kind.TEXT]
                return FieldComparison(field, operator, value, field.column)
        hyphened = _HYPHENED.fullmatch(self.shown(node))
        hint = f'; write {hyphened[1]}["{hyphened[2]}"]' if hyphened else ""
        raise self.refuse("Expected a comparison such as latency_ms > 200", node, hint)

    def _call(self, node: ast.Call) -> FieldComparison:
        """Read ``last("24h")`` or ``matches(field, "...")`` as a condition."""
        called = node.func.id if isinstance(node.func, ast.Name) else ""
        column = self.column_of(node)
        if called == _LAST_FUNCTION:
            return FieldComparison(Field("start", (), column), "within", self._ago(node), column)
        if called != _MATCHES:
            raise self.bad(
                f"Unknown function {self.shown(node.func)}: expected "
                'matches(model, "^gpt") or last("24h")',
                column,
            )
        match node:
            case ast.Call(args=[field, pattern], keywords=[]):
                named, column = self._field(field), self.column_of(pattern)
                return FieldComparison(named, _MATCHES, self._pattern(pattern), column)
        raise self.bad('Expected a field and a pattern, as in matches(model, "^gpt")', column)

    def compare(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> FieldComparison:
        """Read a comparison of a field with a constant, in either order."""
        sign = OPERATORS.get(type(operator))
        if sign is None:
            raise self.bad("Expected one of == != < <= > >= in", self.column_of(left))
        if _is_field(left):
            among = sign in {"in", "not in"}
            values = self._constants(right) if among else self._constant(right)
            return FieldComparison(self._field(left), sign, values, self.column_of(right))
        if not _is_field(right):
            raise self.bad(
                f"Expected a field and a value, found {self.shown(left)} and {self.shown(right)}",
                self.column_of(left),
            )
        mirrored, value, column = _MIRRORED[sign], self._constant(left), self.column_of(left)
        if mirrored.endswith("contains") and not isinstance(value, str):
            raise self.bad(f"Expected a text in quotes before in, found {value!r}", column)
        return FieldComparison(self._field(right), mirrored, value, column)

    def _field(self, node: ast.expr) -> Field:
        """Read a field with its path, from the last step back to the name."""
        path: list[str | int] = []
        inner = node
        while not isinstance(inner, ast.Name):
            if isinstance(inner, ast.Attribute):
                path.append(inner.attr)
            elif isinstance(inner, ast.Subscript):
                path.append(self._step(node, inner.slice))
            else:
                raise self.refuse(_EXAMPLE, node)
            inner = inner.value
        if len(path) > _MAX_PATH:
            message = f"The path has {len(path)} steps: expected at most {_MAX_PATH}"
            raise self.bad(message, self.column_of(node))
        return Field(SHORT.get(inner.id, inner.id), tuple(reversed(path)), self.column_of(node))

    def _step(self, node: ast.expr, part: ast.expr) -> str | int:
        if isinstance(part, ast.Constant | ast.UnaryOp):
            value = self._constant(part)
            if isinstance(value, str) or (isinstance(value, int) and abs(value) < 2**31):
                return value
        raise self.refuse(_EXAMPLE, node)

    def _constant(self, node: ast.expr) -> Constant:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            number = self._constant(node.operand)
            if isinstance(number, int | float):
                return -number
        if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float):
            length_ns = self.length_ns(node)
            return node.value if length_ns is None else Duration(length_ns)
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == _LAST_FUNCTION
        ):
            return self._ago(node)
        hint = f'; put a text in quotes: "{node.id}"' if isinstance(node, ast.Name) else ""
        raise self.refuse("Expected a text, a number, True or False", node, hint)

    def _constants(self, node: ast.expr) -> tuple[Constant, ...]:
        if isinstance(node, ast.Tuple | ast.List):
            return tuple(self._constant(item) for item in node.elts)
        raise self.refuse('Expected values in parentheses such as ("a", "b")', node)

    def _pattern(self, node: ast.expr) -> str:
        value = self._constant(node)
        if not isinstance(value, str):
            raise self.bad(f"Expected a pattern in quotes, found {value!r}", self.column_of(node))
        if len(value) > _MAX_PATTERN:
            raise self.bad(
                f"The pattern has {len(value)} characters: expected at most {_MAX_PATTERN}",
                self.column_of(node),
            )
        return value

    def _ago(self, node: ast.Call) -> Ago:
        """Read ``last("24h")`` or ``last(24h)``."""
        given = node.args[0] if len(node.args) == 1 and not node.keywords else None
        text = given.value if isinstance(given, ast.Constant) else None
        if isinstance(text, str) and text in DAY_NAMES:
            return Ago(0, text)
        length_ns = read_last_ns(text) if isinstance(text, str) else None
        if isinstance(given, ast.Constant):
            length_ns = self.length_ns(given) or length_ns
        if length_ns is None or not 0 < length_ns <= MOST_LAST_NS:
            raise self.bad(
                'Expected a time such as last("24h") (units: s, m, h, d, w), last("today") or '
                f'last("yesterday"), found {self.shown(node)}',
                self.column_of(given or node),
            )
        return Ago(length_ns)


def _is_field(node: ast.expr) -> bool:
    return isinstance(node, ast.Name | ast.Subscript | ast.Attribute)


def _parse(text: str) -> ast.expr:
    if "\\" not in text:
        return _parse_again(text)
    with _WARNED, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _parse_again(text)


def _parse_again(text: str) -> ast.expr:
    """Parse an expression. Try again if another thread has disturbed the parser.

    Some versions of Python count the depth of both threads' trees together, and raise `SystemError`
    for it: https://github.com/python/cpython/issues/106905
    """
    for _ in range(_PARSES):
        with suppress(SystemError):
            return ast.parse(text, mode="eval").body
    return ast.parse(text, mode="eval").body


@dataclass(frozen=True, slots=True)
class _Slice:
    """One condition of a filter, with the positions of its name and value."""

    name: str
    sign: str
    value: str
    at: int
    value_at: int

    @property
    def is_bare(self) -> bool:
        return _QUOTED.fullmatch(self.value) is None

    @property
    def is_surely(self) -> bool:
        """Whether this is certainly a slice, and not a filter with a mistake."""
        return (
            self.is_bare
            and self.name.isidentifier()
            and not is_field(self.name)
            and nearest(self.name) is None
            and _NUMBER.fullmatch(self.value) is None
            and self.value not in _CONSTANTS
        )


def _find_slices(text: str) -> list[FieldComparison]:
    """Read slices; empty if the text has none, so that it may be an expression.

    A single condition is a slice if its value has no quotes, and its name is neither a field nor
    similar to one.

    Raises:
        BadInput: Parts are joined by ``&&``, and one of them is not a condition on a tag.
    """
    if _AND not in text and _NO_SLICE.search(text):
        return []
    tokens = read_tokens(text)
    cuts = [token for token in tokens if token.text == _AND]
    starts, ends = [0, *(cut.end for cut in cuts)], [*(cut.start for cut in cuts), len(text)]
    slices = []
    for start, end in zip(starts, ends, strict=True):
        slice_ = _read_slice(text, start, end, tokens)
        if not cuts and (slice_ is None or not slice_.is_surely):
            return []
        if slice_ is None or (is_field(slice_.name) and not slice_.is_bare):
            part = text[start:end]
            raise bad(
                f"Expected a slice such as client==Remax, found {part.strip()[:40]!r}; "
                "conditions on fields are joined by and",
                end - len(part.lstrip()),
            )
        slices.append(_compare_tag(slice_))
    return slices


def _read_slice(text: str, start: int, end: int, tokens: Sequence[Token]) -> _Slice | None:
    signs = [
        token
        for token in tokens
        if start <= token.start < end and token.text in {"==", "!=", "<", "<=", ">", ">="}
    ]
    if not signs:
        return None
    before, after = text[start : signs[0].start], text[signs[0].end : end]
    name, value = before.strip(), after.strip()
    if not (_NAME.fullmatch(name) and (_BARE.fullmatch(value) or _QUOTED.fullmatch(value))):
        return None
    at = start + len(before) - len(before.lstrip())
    return _Slice(name, signs[0].text, value, at, end - len(after.lstrip()))


def _compare_tag(slice_: _Slice) -> FieldComparison:
    name = _REFUSED.sub("", slice_.name.lower().replace(" ", "_")).rstrip("_")
    value: str | float = slice_.value if slice_.is_bare else slice_.value[1:-1]
    if slice_.sign not in {"==", "!="}:
        if not _NUMBER.fullmatch(str(value)):
            raise bad(f"Expected a number, found {value!r}", slice_.value_at)
        value = float(value)
    return FieldComparison(Field("tags", (name,), slice_.at), slice_.sign, value, slice_.value_at)
