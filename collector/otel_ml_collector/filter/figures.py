"""Conditions on figures, such as ``pass_rate["grounded"] < 0.9 or errors / runs > 0.01``.

They have the grammar of filters. Each side of a comparison is a number, a figure, or a calculation
with both. A vocabulary lists the figures. A figure is a name, or a call with an argument: a text
(``pass_rate("grounded")``, also in brackets), a field (``p90(latency_ms)``) or a condition on
runs (``share(latency_ms > 2000)``). ``previous("1d")`` is the same figure one day earlier.
``surely(error_share > 0.05)`` is a comparison that must be certain.
"""

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Final, TypeAlias

from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.grammar import (
    OPERATORS,
    Both,
    Either,
    Expression,
    Not,
    TreeOf,
    parse,
    read_field,
)
from otel_ml_collector.times import DAY_NS, read_length

_CALCULATED: Final[Mapping[type[ast.operator], str]] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
}
_CALCULATIONS: Final[Mapping[str, Callable[[float, float], float]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# Kinds of arguments that are written without quotes: a field of runs, the path of a field, a
# condition on runs.
FIELD: Final = "field"
PATH: Final = "path"
CONDITION: Final = "condition"
_UNQUOTED: Final = frozenset({FIELD, PATH, CONDITION})
_PREVIOUS: Final = "previous"
_SURELY: Final = "surely"
_MOST_BEFORE_NS: Final = 90 * DAY_NS


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The names that are allowed in a condition, such as the condition of an alert rule.

    For example, ``pass_rate["grounded"] < 0.9`` uses the name ``pass_rate``. Alert rules and other
    features that take conditions each allow different names.

    Attributes:
        noun: What error messages call such a condition.
        place: Name of the parameter or option that contains the condition, such as ``when``. Error
            messages show it.
        figures: Names of numbers. Each name maps to the kind of its argument: ``judge`` for
            ``pass_rate["grounded"]``, or empty for ``runs``, which takes no argument. The user
            writes three kinds without quotes: `FIELD` as in ``p90(latency_ms)``, `PATH` as in
            ``drift(inputs.age)``, and `CONDITION` as in ``share(latency_ms > 2000)``.
        verdicts: Words that are a complete condition, such as ``worse``.
        than: Names from `figures` that accept an earlier period to compare with, as in
            ``drift(inputs.age, than="7d")``. Each maps to its default period.
        signs: Names from `figures` that can be a condition without a comparison. For example,
            ``worse("grounded")`` means ``worse("grounded") > 0``.
        watches: Whether ``previous("1d")`` and ``surely(...)`` are allowed.
    """

    noun: str
    place: str
    figures: Mapping[str, str]
    verdicts: frozenset[str] = frozenset()
    than: Mapping[str, str] = field(default_factory=dict)
    signs: frozenset[str] = frozenset()
    watches: bool = False

    @property
    def forms(self) -> list[str]:
        """The notation of each figure, such as ``pass_rate["judge"]``."""
        return [_written(name, of) for name, of in self.figures.items()]

    @property
    def written(self) -> str:
        """The forms of a condition, in words."""
        comparison = f"a comparison of {', '.join(self.forms)}"
        if not self.verdicts:
            return comparison
        return ", ".join([*sorted(self.verdicts, reverse=True), f"or {comparison}"])


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that a condition uses, such as ``pass_rate["grounded"]`` or ``runs``.

    Attributes:
        name: Its name, such as ``pass_rate``.
        of: What the number is about, such as ``grounded`` or ``latency_ms``, without quotes; empty
            for a figure such as ``runs``.
        column: Position in the text of the condition, for error messages.
        than: For ``drift`` and ``worse``, the earlier period that is compared with: ``28d`` for the
            28 days before; else empty.
        before_ns: For ``previous("1d")``, how far the time window is moved into the past, in
            nanoseconds; else 0.
    """

    name: str
    of: str
    column: int
    than: str = ""
    before_ns: int = 0


@dataclass(frozen=True, slots=True)
class Calculation:
    """A number that is computed from two numbers."""

    left: "Term"
    sign: str
    right: "Term"


Term = float | Figure | Calculation


@dataclass(frozen=True, slots=True)
class TermComparison:
    """A comparison of two numbers by one of ``== != < <= > >=``."""

    left: Term
    sign: str
    right: Term


@dataclass(frozen=True, slots=True)
class VerdictWord:
    """A word that is a complete condition, such as ``worse``."""

    word: str


@dataclass(frozen=True, slots=True)
class SureComparison:
    """A comparison that must be certain: ``surely(pass_rate("grounded") < 0.9)``."""

    comparison: TermComparison
    column: int


FigureLeaf: TypeAlias = TermComparison | VerdictWord | SureComparison
FigureCondition: TypeAlias = TreeOf[FigureLeaf]


def parse_figures(text: str, vocabulary: Vocabulary) -> FigureCondition:
    """Parse a condition over figures.

    Raises:
        BadInput: The text is not a valid condition. The error points at the column.
    """
    return _FigureExpression(text, vocabulary).condition


def holds(
    condition: FigureCondition,
    number_of: Callable[[Figure], float],
    is_verdict: Callable[[str], bool],
    is_sure: Callable[[SureComparison], bool] = lambda _: False,
) -> bool:
    """Return whether a condition such as ``runs > 100 and worse`` is true.

    Parts of the condition are tested in the order of the text, until the result is known.

    Args:
        condition: The parsed condition.
        number_of: Function that returns the number for a figure, such as ``runs``. NaN means that
            the figure has no value.
        is_verdict: Function that returns whether a word such as ``worse`` is true.
        is_sure: Function that returns whether a comparison in ``surely(...)`` is statistically
            certain.
    """
    match condition:
        case Both(parts):
            return all(holds(part, number_of, is_verdict, is_sure) for part in parts)
        case Either(parts):
            return any(holds(part, number_of, is_verdict, is_sure) for part in parts)
        case Not(part):
            return not holds(part, number_of, is_verdict, is_sure)
        case VerdictWord(word):
            return is_verdict(word)
        case SureComparison():
            return is_sure(condition)
        case TermComparison(left, sign, right):
            return _COMPARISONS[sign](calculate(left, number_of), calculate(right, number_of))


def verdicts_of(condition: FigureCondition) -> Iterator[str]:
    """Yield the verdict words of a condition, such as ``worse``."""
    match condition:
        case Both(parts) | Either(parts):
            for part in parts:
                yield from verdicts_of(part)
        case Not(part):
            yield from verdicts_of(part)
        case VerdictWord(word):
            yield word


def leaves_of(condition: FigureCondition) -> Iterator[FigureLeaf]:
    """Yield the parts of a condition that ``and``, ``or`` and ``not`` join, in order."""
    match condition:
        case Both(parts) | Either(parts):
            for part in parts:
                yield from leaves_of(part)
        case Not(part):
            yield from leaves_of(part)
        case TermComparison() | VerdictWord() | SureComparison():
            yield condition


def figures_of(part: FigureLeaf | Term) -> Iterator[Figure]:
    """Yield the figures in a part of a condition, in the order of the text."""
    match part:
        case Figure():
            yield part
        case SureComparison(comparison):
            yield from figures_of(comparison)
        case TermComparison(left, _, right) | Calculation(left, _, right):
            yield from figures_of(left)
            yield from figures_of(right)


def calculate(term: Term, number_of: Callable[[Figure], float]) -> float:
    """Compute one side of a comparison; NaN if it has no value."""
    match term:
        case Figure():
            return number_of(term)
        case Calculation(left, sign, right):
            numbers = calculate(left, number_of), calculate(right, number_of)
            try:
                return _CALCULATIONS[sign](*numbers)
            except (ZeroDivisionError, OverflowError):
                return math.nan
    return term


class _FigureExpression(Expression[FigureLeaf]):
    def __init__(self, text: str, vocabulary: Vocabulary) -> None:
        self.noun, self.place = vocabulary.noun, vocabulary.place
        self._vocabulary = vocabulary
        super().__init__(text)

    def compare(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> TermComparison:
        sign = OPERATORS.get(type(operator), "")
        if sign not in _COMPARISONS:
            raise self.bad("Expected one of == != < <= > >=", self.column_of(left))
        comparison = TermComparison(self._term(left), sign, self._term(right))
        earlier = [figure for figure in figures_of(comparison) if figure.name == _PREVIOUS]
        if not earlier:
            return comparison
        others = {
            replace(figure, column=0)
            for figure in figures_of(comparison)
            if figure.name != _PREVIOUS
        }
        if len(others) != 1:
            message = f"{_PREVIOUS} is an earlier value of a figure: compare it with that figure"
            raise self.bad(message, earlier[0].column)
        (figure,) = others
        return TermComparison(
            _put_before(comparison.left, figure), sign, _put_before(comparison.right, figure)
        )

    def _read(self, node: ast.expr) -> FigureCondition:
        # Python reads `not-enough-data` as `not (-enough - data)`.
        if (word := self.written(node)) in self._vocabulary.verdicts:
            return VerdictWord(word)
        return super()._read(node)

    def read_bare(self, node: ast.expr) -> FigureLeaf:
        match node:
            case ast.Name(id=name) if name not in self._vocabulary.figures:
                raise self._unknown(node)
            case ast.Call(func=ast.Name(id=name)) if name in self._vocabulary.signs:
                return TermComparison(self._term(node), ">", 0)
            case ast.Call(
                func=ast.Name(id=name),
                args=[ast.Compare(ops=[operator], comparators=[right]) as inner],
                keywords=[],
            ) if name == _SURELY and self._vocabulary.watches:
                comparison = self.compare(inner.left, operator, right)
                return SureComparison(comparison, self.column_of(node))
            case ast.Call(func=ast.Name(id=name)) if name == _SURELY and self._vocabulary.watches:
                expected = f"Expected a comparison as in {_SURELY}(error_share > 0.05)"
                raise self.refuse(expected, node)
        raise self.refuse(f"Expected {self._vocabulary.written}", node)

    def _term(self, node: ast.expr) -> Term:
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                if self.length_ns(node) is None:
                    return number
            case ast.UnaryOp(op=ast.USub()):
                return Calculation(0, "-", self._term(node.operand))
            case ast.BinOp() if sign := _CALCULATED.get(type(node.op)):
                return Calculation(self._term(node.left), sign, self._term(node.right))
            case ast.Name():
                return self._figure(node, node, None)
            case ast.Subscript(value=ast.Name() as name, slice=ast.Constant(value=str()) as of):
                return self._figure(node, name, of)
            case ast.Call(func=ast.Name() as name, args=[of]) if self._is_called(node, name.id):
                return self._figure(node, name, of, node.keywords)
            case ast.Subscript(value=ast.Name(id=name)) if self._vocabulary.figures.get(name):
                written = _written(name, self._vocabulary.figures[name])
                raise self.refuse(f"Expected {written} with quotes", node)
        raise self.refuse("Expected a number, or a measure such as p95(latency_ms)", node)

    def _is_called(self, node: ast.Call, name: str) -> bool:
        """Return whether a call has the form of a figure."""
        text = isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
        is_plain = (text or name == _PREVIOUS) and not node.keywords
        return is_plain or name in self._vocabulary.figures

    def _figure(
        self,
        node: ast.expr,
        name: ast.Name,
        of: ast.expr | None,
        keywords: list[ast.keyword] | None = None,
    ) -> Figure:
        if name.id == _PREVIOUS and self._vocabulary.watches:
            return Figure(_PREVIOUS, "", self.column_of(node), before_ns=self._before(node, of))
        kind = self._vocabulary.figures.get(name.id)
        if kind is None:
            raise self._unknown(name)
        if bool(kind) is not (of is not None):
            raise self.refuse(f"Expected {_written(name.id, kind)}", node)
        than = self._than(node, name.id, keywords or [])
        return Figure(name.id, self._subject(node, name.id, of), self.column_of(node), than)

    def _subject(self, node: ast.expr, name: str, of: ast.expr | None) -> str:
        """Read the argument of a figure.

        Raises:
            BadInput: The figure takes another kind of argument.
        """
        if of is None:
            return ""
        kind = self._vocabulary.figures[name]
        if kind not in _UNQUOTED:
            if isinstance(of, ast.Constant) and isinstance(of.value, str) and of.value:
                return of.value
            expected = f'{name}("{kind}")' if self._vocabulary.watches else _written(name, kind)
            raise self.refuse(f"Expected {expected}", node)
        text = self.written(of)
        try:
            if kind == CONDITION:
                parse(text)
            elif kind == FIELD:
                read_field(text)
        except BadInput as error:
            raise self.bad(str(error), self.column_of(of) + (error.column or 0)) from error
        return text

    def _than(self, node: ast.expr, name: str, keywords: list[ast.keyword]) -> str:
        usual = self._vocabulary.than.get(name)
        match keywords:
            case []:
                return usual or ""
            case [ast.keyword(arg="than", value=ast.Constant(value=str(than)))] if (
                usual is not None and than
            ):
                return than
        expected = _written(name, self._vocabulary.figures[name])
        if usual is not None:
            expected = f'{expected[:-1]}, than="{usual}")'
        raise self.refuse(f"Expected {expected}", node)

    def _before(self, node: ast.expr, of: ast.expr | None) -> int:
        length_ns = None
        if isinstance(of, ast.Constant):
            length_ns = self.length_ns(of)
            if isinstance(of.value, str):
                length_ns = read_length(of.value)
        if length_ns is None or not 0 < length_ns <= _MOST_BEFORE_NS:
            message = f'Expected a length of time as in {_PREVIOUS}("1d"), at most 90d'
            raise self.refuse(message, node)
        return length_ns

    def _unknown(self, name: ast.Name) -> Exception:
        known = [*self._vocabulary.figures, *self._vocabulary.verdicts]
        near = get_close_matches(name.id[:40], known, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}?" if near else f"expected {self._vocabulary.written}"
        return self.bad(f"Unknown measure {name.id[:40]!r}: {hint}", self.column_of(name))


def _put_before(term: Term, figure: Figure) -> Term:
    """Replace ``previous(...)`` with the figure, computed for the earlier time."""
    match term:
        case Figure(name=name, before_ns=before_ns) if name == _PREVIOUS:
            return replace(figure, before_ns=before_ns, column=term.column)
        case Calculation(left, sign, right):
            return Calculation(_put_before(left, figure), sign, _put_before(right, figure))
    return term


def _written(name: str, of: str) -> str:
    if of in _UNQUOTED:
        return f"{name}({of})"
    return f'{name}["{of}"]' if of else name
