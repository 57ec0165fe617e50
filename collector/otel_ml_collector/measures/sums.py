"""Adds measures up: over runs, over daily and hourly totals of runs, and over scores.

Sums are computed in whole numbers, so they are the same in any order.
"""

import math
from typing import Final

from otel_ml.records import TOKENS
from otel_ml_collector.measures.measures import HAS_FAILED
from otel_ml_collector.store.amounts import RunAmounts
from otel_ml_collector.store.reader import Row
from otel_ml_collector.store.sql import Sql, identifier, join_sql

# The latency quantiles of the sketches in the totals. Answers also have p95.
_SKETCHED: Final = Sql("0.01, 0.5, 0.9, 0.99")
_ANSWERED: Final = Sql("0.01, 0.5, 0.9, 0.95, 0.99")
# Indexes among the quantiles of `FIGURES`.
P50: Final = 0
P95: Final = 2

_EXACT_STEPS: Final = 10**15
_EXACT: Final = Sql("sum(toInt256(least(greatest(ifNull({number}, 0), -1e50), 1e50) * {steps}))")


def exact_sum(number: Sql) -> Sql:
    """Write the sum of a number in steps of 1e-15. Values are limited to ±1e50."""
    return _EXACT.fill(number=number, steps=_EXACT_STEPS)


def read_exact(exact: Sql) -> Sql:
    """Write the number of an `exact_sum`."""
    return Sql("toFloat64({exact}) / {steps}").fill(exact=exact, steps=_EXACT_STEPS)


# Number of runs, and number of failed runs.
COUNTS: Final = Sql("count() AS runs, countIf({failed}) AS errors").fill(failed=HAS_FAILED)


def run_sums(amounts: RunAmounts) -> Sql:
    """Write the sums of runs, under the names of the columns of `daily_runs`."""
    added = [
        Sql("sum(ifNull({number}, 0)) AS {n}").fill(
            number=amounts.read(name), n=identifier(name, TOKENS)
        )
        for name in TOKENS
    ]
    return Sql("""{counts}, max(start_ns) AS last_ns,
      quantilesDDStateIf({levels})(latency_ns, latency_ns > 0) AS latency,
      {tokens},
      {exact} AS cost, count({cost}) AS priced""").fill(
        counts=COUNTS,
        levels=_SKETCHED,
        tokens=join_sql(", ", added),
        exact=exact_sum(amounts.cost),
        cost=amounts.cost,
    )


SUMS: Final = run_sums(RunAmounts(is_resolved=False))
COUNTED_SUMS: Final = run_sums(RunAmounts(is_resolved=True))
TOKEN_SUMS: Final = join_sql(
    ", ", [Sql("sum({n}) AS {n}").fill(n=identifier(name, TOKENS)) for name in TOKENS]
)
# Merges cells of totals. Every cell has one outcome.
MERGED: Final = Sql("""sum(runs) AS runs, sumIf(runs, {failed}) AS errors, max(last_ns) AS last_ns,
  quantilesDDMergeState({levels})(latency) AS latency,
  {tokens},
  sum(cost) AS cost, sum(priced) AS priced""").fill(
    failed=HAS_FAILED, levels=_SKETCHED, tokens=TOKEN_SUMS
)
# The figures of some cells, without their `TOKEN_SUMS`. Quantiles are in ns.
FIGURES: Final = Sql("""sum(runs) AS runs, sum(errors) AS errors,
  quantilesDDMerge({levels})(latency) AS quantiles,
  {cost} AS cost, sum(priced) AS priced""").fill(
    levels=_ANSWERED, cost=read_exact(Sql("sum(cost)"))
)


# The quantiles of `FIGURES`, directly from runs.
QUANTILES: Final = Sql("quantilesDDIf({levels})(latency_ns, latency_ns > 0) AS quantiles").fill(
    levels=_ANSWERED
)


def figures_of_runs(amounts: RunAmounts) -> Sql:
    """Write the `FIGURES` directly from runs. This is faster than cells if no totals are read."""
    return Sql("""{counts}, {quantiles},
  {cost} AS cost, count({paid}) AS priced""").fill(
        counts=COUNTS,
        quantiles=QUANTILES,
        cost=read_exact(exact_sum(amounts.cost)),
        paid=amounts.cost,
    )


# Sums of the scores in `evaluation`, under the names of the columns of `daily_scores`.
SCORE_SUMS: Final = Sql("""count() AS evaluations, countIf(evaluation.failed) AS failed,
  {score} AS score, count(evaluation.score) AS scored,
  countIf(evaluation.passed = true) AS passed, count(evaluation.passed) AS judged""").fill(
    score=exact_sum(Sql("evaluation.score"))
)
MERGED_SCORES: Final = Sql("""sum(evaluations) AS evaluations, sum(failed) AS failed,
  sum(score) AS score, sum(scored) AS scored, sum(passed) AS passed, sum(judged) AS judged""")


def read_quantiles(row: Row) -> list[float | None]:
    """Return the latency quantiles of `FIGURES` in ms; None if no run has a latency."""
    return [ns / 1e6 if math.isfinite(ns) else None for ns in row["quantiles"]]


def mean_score(row: Row) -> float | None:
    """Return the mean score of `SCORE_SUMS`; None without scores."""
    return row["score"] / _EXACT_STEPS / row["scored"] if row["scored"] else None


def pass_rate(row: Row) -> float | None:
    """Return the pass rate of `SCORE_SUMS`; None if no score says whether the run passed."""
    return row["passed"] / row["judged"] if row["judged"] else None
