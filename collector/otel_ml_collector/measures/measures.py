"""Defines the measures of a run: errors, missing inputs and outputs, latency, tokens, cost.

A measure is SQL over the columns of `runs`, and over the columns that `with_amounts` adds to a
query. Design record: docs/design/059-measures.md.
"""

from dataclasses import dataclass
from typing import Final

from otel_ml.statistics.comparison import FigureKind
from otel_ml_collector.store.amounts import RunAmounts
from otel_ml_collector.store.runs import write_nothing
from otel_ml_collector.store.sql import Sql

HAS_FAILED: Final = Sql("outcome = 'error'")
# Figures are summed in whole millionths, so the sum is the same in any order. Values are limited to
# ±1e9.
MILLIONTHS: Final = 1_000_000
_WHOLE: Final = Sql("round(least(greatest(assumeNotNull({value}), -1e9), 1e9) * {millionths})")


@dataclass(frozen=True, slots=True)
class Measure:
    """A number that each run can have and that versions are compared by, such as latency.

    Attributes:
        name: Its name in answers of the API.
        kind: How it is compared. `rate`: the share of runs. `score`: the difference of means.
            `amount`: the ratio of means.
        value: SQL for the number of a run; NULL if the run has none. Latency is in ms, cost in $.
        lower_is_better: Whether a lower number is better.
    """

    name: Sql
    kind: FigureKind
    value: Sql
    lower_is_better: bool = True

    @property
    def compared(self) -> Sql:
        """SQL for the number of a run that comparisons of versions use; NULL if there is none.

        For an amount, such as latency, this is the natural logarithm of `value`, rounded to 1/64.
        Because of the rounding, many runs have the same number, so fewer rows are read, and sums
        are exact. Amounts of failed runs are not compared, so the SQL gives NULL for such a run.
        """
        if self.kind == "amount":
            return Sql("""if({failed} OR NOT {value} > 0, NULL,
              toNullable(round(log({value}) * 64) / 64))""").fill(
                failed=HAS_FAILED, value=self.value
            )
        return Sql("toNullable(toFloat64({value}))").fill(value=self.value)


ERRORS: Final = Measure(Sql("errors"), "rate", HAS_FAILED)
MISSING_INPUTS: Final = Measure(Sql("missing inputs"), "rate", write_nothing(Sql("inputs_preview")))
MISSING_OUTPUTS: Final = Measure(
    Sql("missing outputs"),
    "rate",
    Sql("if(outcome = 'ok', {nothing}, NULL)").fill(nothing=write_nothing(Sql("outputs_preview"))),
)
LATENCY: Final = Measure(Sql("latency"), "amount", Sql("nullIf(latency_ns, 0) / 1e6"))
TOKENS: Final = Measure(Sql("tokens"), "amount", Sql("run_tokens"))
COST: Final = Measure(Sql("cost"), "amount", Sql("run_cost"))
AMOUNTS: Final = (LATENCY, TOKENS, COST)
# Columns with what a run itself adds to totals. TOKENS and COST include the runs inside it.
COUNTED_TOKENS: Final = Sql("counted_tokens")
COUNTED_COST: Final = Sql("counted_cost")


def with_amounts(amounts: RunAmounts, *, inside: bool = True) -> Sql:
    """Return the WITH clause that defines the tokens and the cost of a run as columns.

    `counted_tokens` and `counted_cost` are the tokens and the cost that the run itself adds to
    totals. `run_tokens` and `run_cost` are for the measures `TOKENS` and `COST`. If a run itself
    adds nothing, as is usual for an agent, these two columns have the sum over the calls inside it.

    Args:
        amounts: Makes the SQL expressions for tokens and cost.
        inside: Whether to define `run_tokens` and `run_cost`, too. Then the query must contain the
            JOIN that `amounts.sum_inside` returns.
    """
    columns = Sql("{tokens} AS {counted_tokens}, {cost} AS {counted_cost}").fill(
        tokens=amounts.tokens,
        cost=amounts.cost,
        counted_tokens=COUNTED_TOKENS,
        counted_cost=COUNTED_COST,
    )
    if inside:
        columns += Sql(", {tokens} AS {run_tokens}, {cost} AS {run_cost}").fill(
            tokens=amounts.tokens_with_inside,
            cost=amounts.cost_with_inside,
            run_tokens=TOKENS.value,
            run_cost=COST.value,
        )
    return Sql("WITH ") + columns


def whole(value: Sql) -> Sql:
    """Write a value as a whole number of millionths."""
    return _WHOLE.fill(value=value, millionths=MILLIONTHS)


def rounded(value: Sql) -> Sql:
    """Write a value rounded to a millionth."""
    return Sql("{whole} / {millionths}").fill(whole=whole(value), millionths=MILLIONTHS)
