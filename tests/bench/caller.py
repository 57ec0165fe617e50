"""Measure what a traced call costs its program, as a ratio to a span written by hand.

Every contender runs each workload in its own process, alternating with the span by hand; the two
take turns to go first. A ratio is the median of the rounds' ratios, so other load on the machine
counts little.

The cost depends on the receiver, so each workload is sent to two sinks, and the span by hand is
measured at each. One responds like our collector, which makes previews itself; the other responds
like any other receiver. Contenders that read no response (a stock exporter, nothing sampled) use
the latter.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tests.bench.beside import Tree
from tests.bench.sink import count, open_sink
from tests.bench.spread import spread
from tests.bench.table import print_table, verdict
from tests.bench.timed import (
    BY_HAND,
    CALLER,
    FIGURES,
    PROCESS,
    WALL,
    Figure,
    Timed,
    time_contender,
    with_arrived,
)
from tests.bench.workloads import WORKLOADS

ROUNDS: Final = 5
COLLECTOR: Final = "our collector"
STRANGER: Final = "any other"
_OFF: Final = "by hand, sampled out"

Pair: TypeAlias = tuple[str, str, str, str]
Rounds: TypeAlias = dict[Pair, list[tuple[Timed, Timed]]]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the tables.

    Attributes:
        receiver: The sink that receives the spans.
        floors: The ratios to reach; figures without a floor are only printed.
        reference: The contender to compare with.
    """

    title: str
    contender: str
    workload: str
    receiver: str
    floors: Mapping[Figure, float] = field(default_factory=dict)
    reference: str = BY_HAND

    @property
    def pair(self) -> Pair:
        """The pair of measurements that this row needs."""
        return self.reference, self.contender, self.workload, self.receiver


def _at_both(
    title: str, contender: str, workload: str, floors: Sequence[Mapping[Figure, float]]
) -> tuple[Row, Row]:
    """Make a row for each receiver: floors at our collector, then at any other."""
    at_collector, at_stranger = floors
    return (
        Row(title, contender, workload, COLLECTOR, at_collector),
        Row(title, contender, workload, STRANGER, at_stranger),
    )


_TINY: Final = {CALLER: 0.18, PROCESS: 0.30, WALL: 0.25}
_LARGE: Final = {CALLER: 0.22, WALL: 0.30}
_LARGE_TO_STRANGER: Final = {CALLER: 0.35, WALL: 0.30}
_NESTED: Final = {WALL: 0.30}
_ASYNC: Final = {CALLER: 0.22, WALL: 0.30}
_STREAM: Final = {CALLER: 0.45, WALL: 0.30}
_SPOOL: Final = {CALLER: 0.50, WALL: 0.45}
ROWS: Final = (
    *_at_both("tiny values", "ours", "tiny", [_TINY] * 2),
    *_at_both("4 KB in, 2 KB out", "ours", "large", [_LARGE, _LARGE_TO_STRANGER]),
    *_at_both("3 nested spans", "ours", "nested", [_NESTED] * 2),
    *_at_both("async, 100 at a time", "ours", "async", [_ASYNC] * 2),
    *_at_both("stream of 50 chunks", "ours", "stream", [_STREAM] * 2),
    *_at_both("spool on", "spooled", "tiny", [_SPOOL] * 2),
    Row("joined: stock processor and exporter", "joined", "tiny", STRANGER, {CALLER: 0.30}),
    Row("sampled out, to a recorded one", "sampled out", "tiny", STRANGER, {WALL: 0.10}),
    Row("sampled out, to one that is too", "sampled out", "tiny", STRANGER, reference=_OFF),
)


def measure(rounds: int = ROUNDS, rows: Sequence[Row] = ROWS, calls: int | None = None) -> Rounds:
    """Time every pair of the rows, in turn.

    Args:
        rounds: How many rounds.
        rows: The rows to measure.
        calls: How many calls to time; None for the number of each workload.

    Raises:
        AssertionError: An otel-ml client ran with a configuration other than the default one.
    """
    pairs = list(dict.fromkeys(row.pair for row in rows))
    timed: Rounds = {pair: [] for pair in pairs}
    with open_sink(keep=True) as stranger, open_sink(keep=True, is_as_collector=True) as collector:
        endpoints = {STRANGER: stranger, COLLECTOR: collector}
        default = _features(time_contender("default", "tiny", stranger))
        for number in range(rounds):
            for pair in pairs:
                is_turned = number % 2 == 1
                both = _time_both(pair, endpoints[pair[-1]], calls, is_turned=is_turned)
                assert "ours" not in pair or _features(both[1]) == default, (both[1], default)
                timed[pair].append(both)
    return timed


def _time_both(
    pair: Pair, endpoint: str, calls: int | None, *, is_turned: bool
) -> tuple[Timed, Timed]:
    """Time the reference and the contender; if turned, the contender goes first."""
    reference, contender, workload, _ = pair
    names = (contender, reference) if is_turned else (reference, contender)
    times = {name: time_contender(name, workload, endpoint, calls=calls) for name in names}
    return times[reference], times[contender]


_TIMED: Final = """
import runpy, sys
sys.argv = ["timed", {!r}, {!r}, {!r}]
runpy.run_module("tests.bench.timed", run_name="__main__")
"""


def measure_beside(tree: Tree) -> Mapping[str, float]:
    """Time a call with the code of a tree: wall time, and CPU time per thread and process."""
    figures = {}
    with open_sink(keep=True) as stranger, open_sink(keep=True, is_as_collector=True) as collector:
        endpoints = {STRANGER: stranger, COLLECTOR: collector}
        for row in ROWS:
            if row.reference == _OFF:
                continue
            endpoint = endpoints[row.receiver]
            count(endpoint)
            printed = tree.run(_TIMED.format(row.contender, row.workload, endpoint))
            item = json.loads(printed.splitlines()[-1])  # another commit may have other fields
            timed = with_arrived(
                Timed(item["wall_us"], item["thread_us"], item["cpu_us"]),
                row.workload,
                count(endpoint)[1],
                WORKLOADS[row.workload].calls,
            )
            for figure in FIGURES:
                figures[f"{row.title}, to {row.receiver}: {figure.title}, µs"] = figure.read(timed)
    return figures


def report(rounds: int = ROUNDS) -> None:
    """Measure; print a table for each figure, and the configuration once."""
    timed = measure(rounds)
    for figure in FIGURES:
        heads = (figure.title, "receiver", "÷ by hand", "floor", "", "ours, µs", "by hand, µs")
        cells = [cells_of(row, figure, timed[row.pair]) for row in ROWS]
        print_table((*heads, "arrived", "by hand"), [row for row in cells if row])
    configuration = timed[ROWS[0].pair][0][1].configuration
    print("In force, as in a default client but for the endpoint:", dict(configuration), "\n")


def _features(timed: Timed) -> dict[str, object]:
    return {name: item for name, item in timed.configuration.items() if name != "endpoint"}


def cells_of(row: Row, figure: Figure, rounds: Sequence[tuple[Timed, Timed]]) -> list[str]:
    """Return a line of a figure's table; empty if nothing arrived to divide by."""
    by_hand = [figure.read(reference) for reference, _ in rounds]
    ours = [figure.read(contender) for _, contender in rounds]
    if not all((*by_hand, *ours)):
        return []
    ratios = [b / a for a, b in zip(by_hand, ours, strict=True)]
    floor = row.floors.get(figure)
    return [
        row.title,
        row.receiver,
        spread(ratios),
        "" if floor is None else f"{floor:.2f}",
        "" if floor is None else verdict(statistics.median(ratios) <= floor),
        spread(ours, digits=1),
        spread(by_hand, digits=1),
        f"{statistics.median(contender.arrived for _, contender in rounds):.0%}",
        f"{statistics.median(reference.arrived for reference, _ in rounds):.0%}",
    ]
