"""Conditions over figures, such as ``pass_rate["grounded"] < 0.9 or errors / runs > 0.01``.

Their grammar is that of filters. A side of a comparison is a number, a figure, or a calculation of
these; which figures there are is the vocabulary.
"""

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, TypeAlias

from otel_ml_collector.filter.grammar import OPERATORS, Both, Either, Expression, Not, TreeOf

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


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The vocabulary of a sort of conditions.

    Attributes:
        noun: The word for such a condition in messages.
        place: The parameter or option that it is given by.
        figures: The subject of each figure, such as ``judge``, by its name; empty for a figure
            without subject.
        verdicts: Words that are conditions by themselves.
    """

    noun: str
    place: str
    figures: Mapping[str, str]
    verdicts: frozenset[str] = frozenset()

    @property
    def written(self) -> str:
        """The forms of a condition, in words."""
        figures = [_written(name, of) for name, of in self.figures.items()]
        comparison = f"a comparison of {', '.join(figures)}"
        return ", ".join([*sorted(self.verdicts, reverse=True), f"or {comparison}"])


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its subject: ``pass_rate["grounded"]``."""

    name: str
    of: str
    column: int


@dataclass(frozen=True, slots=True)
class Calculation:
    """A number that is made of two."""

    left: "Term"
    sign: str
    right: "Term"


Term = float | Figure | Calculation


@dataclass(frozen=True, slots=True)
class TermComparison:
    """Two numbers with a sign of ``== != < <= > >=`` between them."""

    left: Term
    sign: str
    right: Term


@dataclass(frozen=True, slots=True)
class VerdictWord:
    """A word that is a condition by itself."""

    word: str


FigureCondition: TypeAlias = TreeOf[TermComparison | VerdictWord]


def parse_figures(text: str, vocabulary: Vocabulary) -> FigureCondition:
    """Parse a condition over figures.

    Raises:
        BadInput: The text is none; the error points at the column.
    """
    return _FigureExpression(text, vocabulary).condition


def holds(
    condition: FigureCondition,
    number_of: Callable[[Figure], float],
    is_verdict: Callable[[str], bool],
) -> bool:
    """Tell whether a condition holds; figures that cannot change the result are not asked for.

    Args:
        condition: The condition.
        number_of: Returns the value of a figure, NaN where it has none.
        is_verdict: Tells whether a word holds.
    """
    match condition:
        case Both(parts):
            return all(holds(part, number_of, is_verdict) for part in parts)
        case Either(parts):
            return any(holds(part, number_of, is_verdict) for part in parts)
        case Not(part):
            return not holds(part, number_of, is_verdict)
        case VerdictWord(word):
            return is_verdict(word)
        case TermComparison(left, sign, right):
            return _COMPARISONS[sign](_calculate(left, number_of), _calculate(right, number_of))


def verdicts_of(condition: FigureCondition) -> Iterator[str]:
    """Yield the words of a condition that are conditions by themselves."""
    match condition:
        case Both(parts) | Either(parts):
            for part in parts:
                yield from verdicts_of(part)
        case Not(part):
            yield from verdicts_of(part)
        case VerdictWord(word):
            yield word


def _calculate(term: Term, number_of: Callable[[Figure], float]) -> float:
    match term:
        case Figure():
            return number_of(term)
        case Calculation(left, sign, right):
            numbers = _calculate(left, number_of), _calculate(right, number_of)
            try:
                return _CALCULATIONS[sign](*numbers)
            except (ZeroDivisionError, OverflowError):
                return math.nan
    return term


class _FigureExpression(Expression[TermComparison | VerdictWord]):
    def __init__(self, text: str, vocabulary: Vocabulary) -> None:
        self.noun, self.place = vocabulary.noun, vocabulary.place
        self._vocabulary = vocabulary
        super().__init__(text)

    def compare(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> TermComparison:
        sign = OPERATORS.get(type(operator), "")
        if sign not in _COMPARISONS:
            raise self.bad("Expected one of == != < <= > >=", self.column_of(left))
        return TermComparison(self._term(left), sign, self._term(right))

    def stand_alone(self, node: ast.expr) -> VerdictWord:
        if (word := self.written(node)) in self._vocabulary.verdicts:
            return VerdictWord(word)
        if isinstance(node, ast.Name) and node.id not in self._vocabulary.figures:
            raise self._unknown(node)
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
                return self._figure(node, node, "")
            case ast.Subscript(value=ast.Name() as name, slice=ast.Constant(value=str(of))):
                return self._figure(node, name, of)
            case ast.Call(func=ast.Name() as name, args=[ast.Constant(value=str(of))], keywords=[]):
                return self._figure(node, name, of)
        raise self.refuse("Expected a number or a figure", node)

    def _figure(self, node: ast.expr, name: ast.Name, of: str) -> Figure:
        kind = self._vocabulary.figures.get(name.id)
        if kind is None:
            raise self._unknown(name)
        if bool(kind) is not bool(of):
            raise self.refuse(f"Expected {_written(name.id, kind)}", node)
        return Figure(name.id, of, self.column_of(node))

    def _unknown(self, name: ast.Name) -> Exception:
        known = [*self._vocabulary.figures, *self._vocabulary.verdicts]
        near = get_close_matches(name.id[:40], known, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}?" if near else f"expected {self._vocabulary.written}"
        return self.bad(f"Unknown figure {name.id[:40]!r}: {hint}", self.column_of(name))


def _written(name: str, of: str) -> str:
    return f'{name}["{of}"]' if of else name
