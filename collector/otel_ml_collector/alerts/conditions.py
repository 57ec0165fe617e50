"""Conditions of alert rules: which figures they can use, and what each figure needs.

A figure is a number that is computed from the runs of a time window, such as ``error_share`` or
``pass_rate("grounded")``.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from otel_ml.statistics.betting import Means, add_amounts, add_window
from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.fields import FIELD_NAMES, Kind
from otel_ml_collector.filter.figures import (
    CONDITION,
    FIELD,
    PATH,
    Figure,
    FigureCondition,
    SureComparison,
    TermComparison,
    Vocabulary,
    figures_of,
    holds,
    leaves_of,
    parse_figures,
)
from otel_ml_collector.filter.grammar import FieldComparison, conjuncts, parse, read_field
from otel_ml_collector.filter.sql import compile_filter
from otel_ml_collector.findings.drift import parse_than
from otel_ml_collector.times import DAY_NS, HOUR_NS, read_length
from otel_ml_collector.windows import Window

QUANTILES: Final[Mapping[str, float]] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
OF_JUDGES: Final = ("pass_rate", "mean_score", "judge_errors")
OF_TRUTH: Final = ("accuracy", "recall", "precision", "mae")
# Figures of monitoring, which are computed for one model and one window at a time.
OF_MONITOR: Final = ("drift", "excess", "worse")
# Share of its daily budget that a judge has spent, whether or not there are runs.
OF_BUDGET: Final = ("budget_used",)
# Runs without an end. They are not among the recorded runs.
OF_CRASHES: Final = ("crashed",)
_VERSION_BEFORE: Final = "version before"
# Comparison operators when both sides are swapped.
_TURNED: Final[Mapping[str, str]] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_PREVIOUS_TIME: Final = re.compile(r"previous (\d+[a-z]+)", re.ASCII)
_MOST_PREVIOUS_NS: Final = 90 * DAY_NS
VOCABULARY: Final = Vocabulary(
    "condition",
    "when",
    {
        **dict.fromkeys(("runs", "error_share", "cost", "tokens", *OF_CRASHES), ""),
        **dict.fromkeys((*QUANTILES, "mean", "min", "max", "missing"), FIELD),
        "share": CONDITION,
        **dict.fromkeys((*OF_JUDGES, *OF_BUDGET), "judge"),
        **dict.fromkeys(OF_TRUTH, "target"),
        "drift": PATH,
        "excess": "figure",
        "worse": "judge",
    },
    than={"drift": "28d", "worse": _VERSION_BEFORE},
    signs=frozenset({"worse"}),
    watches=True,
)
# Figures from 0 to 1 that are means over runs.
_SHARES: Final = frozenset({"error_share", "missing", "share", "pass_rate", "judge_errors"})
# Means of numbers that can have any range.
_MEANS: Final = frozenset({"mean", "mean_score"})
# Signs of a comparison that has a good and a bad side.
_SIDES: Final = frozenset({"<", "<=", ">", ">="})
# A value is far from its limit from this share of the usual distance on.
_FAR_SHARE: Final = 0.1
# Tolerance for floating point errors.
_ALMOST: Final = 1 - 1e-9
# A session may be this many times as far from a limit as the largest distance seen so far.
_ROOM: Final = 1.25
_VALUED: Final = frozenset({Kind.NUMBER, Kind.DURATION, Kind.PAYLOAD, Kind.JSON, Kind.METRIC})
_NOT_VALUED: Final = frozenset({"version", "repeat", "latency", "attributes", "resource"})


@dataclass(frozen=True, slots=True)
class SureLimit:
    """The comparison in the ``surely(...)`` of a rule, such as ``surely(error_share > 0.05)``.

    It counts as true only if the runs show it with statistical certainty.

    Attributes:
        figure: The share of runs (0 to 1) or the mean that is compared. A quantile is converted to
            a share. For example, ``p95(latency_ms) > 2000`` means that more than 5 % of the runs
            take over 2000 ms, so `figure` is the share of these runs.
        limit: The number that the figure is compared with, such as 0.05 in this example.
        is_above: True if values above the limit are bad. False if values below it are bad.
    """

    figure: Figure
    limit: float
    is_above: bool

    @property
    def is_share(self) -> bool:
        """Whether the figure is from 0 to 1."""
        return self.figure.name in _SHARES

    def bet(self, total: float, means: Means, seen: float) -> float:
        """Return how strong the evidence is that the limit is exceeded, after one more time window.

        The result is a number, and more evidence makes it larger. The method is testing by betting:
        see `otel_ml.statistics.betting`. For a mean, the method needs to know how far the best
        possible value is from the limit. The best latency is 0, for example. Scores and values in
        payloads have no known best value, so this distance is estimated from earlier windows. The
        first window has no earlier window, so it adds no evidence.

        Args:
            total: The evidence before the window.
            means: The number of sessions in the window by their value, which is the mean of the
                session's runs. ``{1.0: 8, 0.5: 2}`` means that eight sessions have the value 1.0
                and two have 0.5.
            seen: Largest distance of a session's value from the limit in earlier windows; 0 if
                there are none.
        """
        if self.is_share:
            return add_window(total, means, self.limit, is_above=self.is_above)
        reach = self.limit if self._has_floor else _ROOM * seen
        if not reach:
            return total
        return add_amounts(total, means, self.limit, reach=reach, is_above=self.is_above)

    def find_distance(self, means: Means) -> float:
        """Return the largest distance of a session's mean from the limit, for later windows."""
        if self.is_share or self._has_floor:
            return 0.0
        return max((abs(mean - self.limit) for mean in means), default=0.0)

    @property
    def _has_floor(self) -> bool:
        """Whether sessions on the good side are at most as far from the limit as 0 is."""
        if not self.is_above or self.limit <= 0 or self.figure.name != "mean":
            return False
        return FIELD_NAMES[read_field(self.figure.of).name].kind in {Kind.NUMBER, Kind.DURATION}


@dataclass(frozen=True, slots=True)
class AlertCondition:
    """The parsed condition of an alert rule, such as ``error_share > 0.05 and runs > 100``.

    Attributes:
        tree: The comparisons, and how they are joined with ``and``, ``or`` and ``not``.
        figures: The figures that the condition uses, such as ``error_share``, each once. The same
            figure at an earlier time, as ``previous("7d")`` gives it, is a separate entry.
        sure: The comparison in ``surely(...)``, which must be statistically certain; None if the
            condition has no ``surely``.
    """

    tree: FigureCondition
    figures: tuple[Figure, ...]
    sure: SureLimit | None

    def is_bad(self, number_of: Callable[[Figure], float], *, is_sure: bool) -> bool:
        """Return whether the condition holds, so that a window is bad.

        Args:
            number_of: Function that returns the value of a figure of the rule, such as the share of
                failed runs. NaN if there is no value.
            is_sure: Whether the comparison in ``surely(...)`` is statistically certain.
        """
        return holds(self.tree, number_of, lambda _: False, lambda _: is_sure)

    def is_broken(self, number_of: Callable[[Figure], float]) -> bool:
        """Return whether the condition holds, even if ``surely(...)`` does not yet."""

        def holds_plainly(part: SureComparison) -> bool:
            return holds(part.comparison, number_of, lambda _: False)

        return holds(self.tree, number_of, lambda _: False, holds_plainly)

    @property
    def main(self) -> Figure:
        """The first figure, which pages draw and messages report."""
        return self.figures[0]

    @property
    def limit(self) -> float | None:
        """The number that the first figure is compared with; None if there is none."""
        compared = self._compared
        return None if compared is None else compared[1]

    @property
    def is_bad_above(self) -> bool:
        """Whether a higher value of the first figure is worse."""
        compared = self._compared
        return compared is None or compared[0].startswith(">")

    @property
    def has_sides(self) -> bool:
        """Whether `is_far` can be true: a number with a good and a bad side limits the figure.

        The figure `worse` is 0 or 1, so it has no distance from its limit.
        """
        compared = self._compared
        return compared is not None and compared[0] in _SIDES and self.main.name != "worse"

    def is_far(self, value: float, usual: float) -> bool:
        """Return whether the first figure is well on the good side of its limit.

        It is if it is better than the limit by a tenth of the distance from the limit to the usual
        value. A condition with ``not`` turns its sides around, so the usual value is then on the
        bad side.

        Args:
            value: The value of the first figure in a window that is not bad.
            usual: Its usual value. If this is not on the good side, no value is far.
        """
        compared = self._compared
        if compared is None or not self.has_sides:
            return False
        side = -1 if self.is_bad_above else 1
        gain, distance = ((number - compared[1]) * side for number in (value, usual))
        return distance > 0 and gain >= _FAR_SHARE * distance * _ALMOST

    @property
    def _compared(self) -> tuple[str, float] | None:
        """The sign and the number that the first figure is compared with."""
        for leaf in leaves_of(self.tree):
            comparison = leaf.comparison if isinstance(leaf, SureComparison) else leaf
            if not isinstance(comparison, TermComparison):
                continue
            left, sign, right = comparison.left, comparison.sign, comparison.right
            if left == self.main and isinstance(right, int | float):
                return sign, float(right)
            if right == self.main and isinstance(left, int | float):
                return _TURNED.get(sign, sign), float(left)
        return None

    @property
    def judges(self) -> frozenset[str]:
        """The judges whose scores the condition uses. A new version resets the states."""
        before = [figure for figure in self.of(OF_MONITOR) if read_previous(figure) is not None]
        return frozenset(figure.of for figure in [*self.of(OF_JUDGES), *before])

    def of(self, names: tuple[str, ...]) -> list[Figure]:
        """Return the figures with one of these names."""
        return [figure for figure in self.figures if figure.name in names]

    @property
    def is_of_budgets(self) -> bool:
        """Whether all figures are budgets of judges, which need no runs."""
        return len(self.of(OF_BUDGET)) == len(self.figures)

    @property
    def needs_no_runs(self) -> bool:
        """Whether no recorded runs are needed: all figures are budgets, or all are crashes."""
        return self.is_of_budgets or len(self.of(OF_CRASHES)) == len(self.figures)

    def check_fit(self, where: str, window_ns: int, *, by: Collection[str]) -> None:
        """Check that the figures of the condition can be computed with the rule's other options.

        Args:
            where: The rule's filter of runs.
            window_ns: Length of the rule's window, in nanoseconds.
            by: Names of the fields and tags that the rule groups by.

        Raises:
            BadInput: A figure does not fit. For example, `drift` needs a filter that names one
                model, and a window of 1h, 1d or 7d. The period or version that `drift` or `worse`
                compares with must be valid. `budget_used` and `crashed` cannot be combined with
                other figures, a filter or `by`.
        """
        self._check_alone(where, by)
        for figure in self.of(OF_MONITOR):
            if figure.before_ns:
                message = f"{figure.name} cannot be compared with previous(...)"
                raise BadInput(message, "when", figure.column)
            previous_ns = read_previous(figure)
            if figure.name == "worse":
                _check_worse(figure, window_ns, is_by_version="version" in by)
            needs_model = figure.name == "drift" or (figure.name == "worse" and previous_ns is None)
            if needs_model and model_of(where) is None:
                message = (
                    f'{figure.name} needs one model: add model == "NAME" to the filter `where`'
                )
                raise BadInput(message, "where")
            if figure.name == "drift":
                if window_ns not in {HOUR_NS, DAY_NS, 7 * DAY_NS}:
                    message = "drift is judged by whole hours, days or weeks: expected 1h, 1d or 7d"
                    raise BadInput(message, "window")
                try:
                    parse_than(figure.than, Window(0, window_ns), min(window_ns, DAY_NS))
                except BadInput as error:
                    raise BadInput(str(error), "when", figure.column) from error

    def _check_alone(self, where: str, by: Collection[str]) -> None:
        """Refuse budget_used and crashed together with other figures, a filter or `by`."""
        for figure in self.of(OF_BUDGET):
            if not self.is_of_budgets or figure.before_ns:
                message = "budget_used is a figure of a judge: expected no other figure in the rule"
                raise BadInput(message, "when", figure.column)
            if where or by:
                message = "budget_used is a figure of a judge: leave where and by empty"
                raise BadInput(message, "where" if where else "by")
        for figure in self.of(OF_CRASHES):
            if not self.needs_no_runs or figure.before_ns:
                message = "crashed counts runs without an end: expected no other figure in the rule"
                raise BadInput(message, "when", figure.column)
            if where or by:
                message = "crashed counts all crashed runs: leave where and by empty"
                raise BadInput(message, "where" if where else "by")


def read_previous(figure: Figure) -> int | None:
    """Return the length of the earlier time that `worse` compares with; None otherwise."""
    match = _PREVIOUS_TIME.fullmatch(figure.than)
    return read_length(match[1]) if match and figure.name == "worse" else None


def _check_worse(figure: Figure, window_ns: int, *, is_by_version: bool) -> None:
    """Refuse an invalid reference of `worse`.

    Raises:
        BadInput: The reference is neither the version nor a time before, or is too short or long.
    """
    previous_ns = read_previous(figure)
    if previous_ns is not None:
        if not window_ns <= previous_ns <= _MOST_PREVIOUS_NS:
            message = "Invalid than: expected a period as long as the window or longer, at most 90d"
            raise BadInput(message, "when", figure.column)
    elif figure.than != _VERSION_BEFORE:
        message = f'Invalid than {figure.than[:40]!r}: expected "version before" or "previous 7d"'
        raise BadInput(message, "when", figure.column)
    elif is_by_version:
        message = "worse checks only the newest version: remove version from by"
        raise BadInput(message, "when", figure.column)


def model_of(where: str) -> str | None:
    """Return the model that a filter names; None if it names none, or several."""
    for part in conjuncts(where):
        tree = parse(part)
        if (
            isinstance(tree, FieldComparison)
            and tree.field.name == "model"
            and tree.operator == "=="
            and isinstance(tree.value, str)
        ):
            return tree.value
    return None


def read_condition(text: str) -> AlertCondition:
    """Parse the condition of a rule.

    Raises:
        BadInput: It is invalid. The error names the column.
    """
    tree = parse_figures(text, VOCABULARY)
    leaves = [*leaves_of(tree)]
    figures: dict[tuple[str, str, str, int], Figure] = {}
    for leaf in leaves:
        for figure in figures_of(leaf):
            _check(figure)
            key = (figure.name, figure.of, figure.than, figure.before_ns)
            figures.setdefault(key, figure)
    if not figures:
        raise BadInput(f"Expected {VOCABULARY.written}", "when", 0)
    sure = [leaf for leaf in leaves if isinstance(leaf, SureComparison)]
    if len(sure) > 1:
        raise BadInput("Expected surely(...) at most once in a rule", "when", sure[1].column)
    now = [figure for figure in figures.values() if not figure.before_ns]
    earlier = [figure for figure in figures.values() if figure.before_ns]
    limit = _read_limit(sure[0]) if sure else None
    return AlertCondition(tree, (*now, *earlier), limit)


def _check(figure: Figure) -> None:
    """Refuse a figure of a field without numbers, and a share whose filter is invalid."""
    inside = figure.column + len(figure.name) + 1
    if figure.name == "share":
        try:
            compile_filter(figure.of)
        except BadInput as error:
            raise BadInput(str(error), "when", inside + (error.column or 0)) from error
    elif VOCABULARY.figures[figure.name] == FIELD:
        field = read_field(figure.of)
        known = FIELD_NAMES[field.name]
        is_json = known.kind in {Kind.PAYLOAD, Kind.JSON}
        is_path_right = bool(field.path) == (known.kind in {Kind.JSON, Kind.METRIC})
        if (
            known.kind not in _VALUED
            or field.name in _NOT_VALUED
            or not (is_path_right or known.kind is Kind.PAYLOAD)
            or (known.kind is Kind.METRIC and field.key is None)
        ):
            raise BadInput(
                f"Expected a numeric field such as latency_ms, a part of inputs, outputs or "
                f'params, or metrics["loss"], found {figure.of[:40]}',
                "when",
                inside,
            )
        if figure.name == "missing" and not is_json:
            message = "Expected a part of inputs, outputs or params that may be missing"
            raise BadInput(f"{message}, found {figure.of[:40]}", "when", inside)


def _read_limit(sure: SureComparison) -> SureLimit:
    """Parse the comparison in surely(...).

    Raises:
        BadInput: It does not compare a share of runs, a mean or a quantile with a number.
    """
    left, sign, right = sure.comparison.left, sure.comparison.sign, sure.comparison.right
    if isinstance(right, Figure) and isinstance(left, int | float):
        left, right = right, left
        sign = _TURNED.get(sign, sign)
    expected = (
        f"Expected one of {', '.join(sorted(_SHARES | _MEANS))} or a quantile, compared with a "
        f"number, as in surely(error_share > 0.05)"
    )
    if not isinstance(left, Figure) or not isinstance(right, int | float) or left.before_ns:
        raise BadInput(expected, "when", sure.column)
    if sign not in {"<", "<=", ">", ">="}:
        raise BadInput(f"{expected}, with < or >", "when", sure.column)
    is_above = sign.startswith(">")
    if left.name in QUANTILES:
        # A quantile is above a limit if the share of runs above that limit is large enough.
        share = f"{left.of} {'>' if is_above else '<'} {right!r}"
        limit = 1 - QUANTILES[left.name] if is_above else QUANTILES[left.name]
        return SureLimit(Figure("share", share, left.column), limit, is_above=True)
    if left.name not in _SHARES | _MEANS:
        raise BadInput(expected, "when", sure.column)
    if left.name in _SHARES and not 0 <= right <= 1:
        message = f"Invalid limit {right!r} of {left.name}: expected a number from 0 to 1"
        raise BadInput(message, "when", sure.column)
    return SureLimit(left, right, is_above)
