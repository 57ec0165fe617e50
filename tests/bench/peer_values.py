"""Compare the cost of a call with a real model input between otel-ml and other decorators.

The values are those of `tests.bench.values`. Each product runs in a separate process, and one round
runs all of them in turn. A ratio is the median over the rounds.
"""

import gc
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tests.bench.by_hand import stock_provider
from tests.bench.contenders import open_contender
from tests.bench.peers import NAMES, PYTHON
from tests.bench.process import run_module
from tests.bench.sink import open_sink
from tests.bench.spread import spread
from tests.bench.table import print_table
from tests.bench.timed import BY_HAND
from tests.bench.values import ROWS, by_hand

ROUNDS: Final = 3
_WARM_CALLS: Final = 40
_CALLS: Final = 200  # fit in every product's queue

# kind of value -> µs of CPU of the caller for each call; None if the traced call raised an error
Costs = Mapping[str, float | None]


def measure(endpoint: str, rounds: int = ROUNDS) -> Sequence[Mapping[str, Costs]]:
    """Time every product with every value, and return one mapping by product for each round."""
    return [
        {
            name: json.loads(
                run_module("peer_values", name, endpoint, python=str(PYTHON)).splitlines()[-1]
            )
            for name in (BY_HAND, *NAMES)
        }
        for _ in range(rounds)
    ]


def report() -> None:
    """Measure, and print one row for each kind of value."""
    if not PYTHON.exists():
        print("Not measured, because .venv-bench-peers is missing: make bench PEERS=1\n")
        return
    with open_sink(keep=True) as endpoint:
        rounds = measure(endpoint)
    rows = [[row, *_cells(row, rounds)] for row in rounds[0][BY_HAND]]
    heads = ("CPU of the caller's thread, a call, ÷ by hand", "by hand, µs", *NAMES.values())
    print_table(heads, rows)


def _cells(row: str, rounds: Sequence[Mapping[str, Costs]]) -> list[str]:
    hand = _read(BY_HAND, row, rounds)
    cells = [f"{statistics.median(hand):.1f}"]
    for name in NAMES:
        costs = _read(name, row, rounds)
        ratios = [a / b for a, b in zip(costs, hand, strict=False)]
        cells.append(spread(ratios) if len(ratios) == len(hand) else "the call raised an error")
    return cells


def _read(name: str, row: str, rounds: Sequence[Mapping[str, Costs]]) -> list[float]:
    return [cost for costs in rounds if (cost := costs[name][row]) is not None]


def _time_values(name: str, endpoint: str) -> Costs:
    """Time one product with every value whose library is installed."""
    trace, flush = _open(name, endpoint)
    costs: dict[str, float | None] = {}
    for row, case in ROWS.items():
        if importlib.util.find_spec(case.needs) is None:
            continue
        value, predict = case.make(), trace()
        try:
            _call(predict, value, _WARM_CALLS)
        except (ValueError, TypeError):  # raised by the decorator: `_predict` raises nothing
            costs[row] = None
            continue
        flush()
        gc.collect()
        began_s = time.thread_time()
        _call(predict, value, _CALLS)
        costs[row] = (time.thread_time() - began_s) / _CALLS * 1e6
        flush()
    return costs


def _open(name: str, endpoint: str) -> tuple[Callable[[], Any], Callable[[], object]]:
    """Return a function that makes a traced function, and one that flushes the queue."""
    if name == BY_HAND:
        provider = stock_provider(endpoint)
        return lambda: by_hand(provider), provider.force_flush
    contender = open_contender(name, endpoint)
    return lambda: contender.trace(_predict), contender.flush


def _predict(value: Any) -> Any:
    return value


def _call(predict: Callable[[Any], Any], value: Any, calls: int) -> None:
    for _ in range(calls):
        predict(value)


if __name__ == "__main__":
    print(json.dumps(_time_values(*sys.argv[1:])))
