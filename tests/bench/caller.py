"""What a traced call costs its program, as a ratio to a span that is written by hand.

Every contender runs each workload in a process of its own, by hand and ours in turn; the ratio is
the median of the rounds' ratios, so that what else the machine does counts little.

Long payloads are sent to two sinks in turn, as what a call says of them differs: one answers as our
collector does, which makes previews itself, one as any other receiver. Of short ones nothing does.
"""

import json
import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from tests.bench.beside import Tree
from tests.bench.sink import open_sink
from tests.bench.spread import spread
from tests.bench.table import print_table, verdict
from tests.bench.timed import Timed, time_contender

ROUNDS: Final = 5
_HEADS: Final = (
    *("a traced call", "ratio", "floor", "stretch", ""),
    *(
        "ours, µs",
        "by hand, µs",
        "by the thread's CPU",
        "caller + sender, CPU µs a call",
        "by hand",
    ),
    *("arrived", "by hand"),
)


_WALL: Final = operator.attrgetter("wall_us")
_CPU: Final = operator.attrgetter("cpu_us")
_CPU_A_SPAN: Final = operator.attrgetter("cpu_a_span_us")

Pair: TypeAlias = tuple[str, str, str, bool]
Rounds: TypeAlias = dict[Pair, list[tuple[Timed, Timed]]]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        floor: The ratio to reach; None where it is only printed, and so is `stretch`.
        figure: What is compared.
        reference: The contender to compare with.
        to_collector: Whether the sink answers as our collector does.
    """

    title: str
    contender: str
    workload: str
    floor: float | None = None
    stretch: float | None = None
    figure: Callable[[Timed], float] = _WALL
    reference: str = "by hand"
    to_collector: bool = False

    @property
    def pair(self) -> Pair:
        """What has to be timed for it."""
        return self.reference, self.contender, self.workload, self.to_collector


_OFF: Final = "by hand, sampled out"
ROWS: Final = (
    Row("tiny values", "ours", "tiny", 0.25, 0.15),
    Row("4 KB in, 2 KB out, to our collector", "ours", "large", 0.30, 0.20, to_collector=True),
    Row("4 KB in, 2 KB out, to another receiver", "ours", "large", 0.30, 0.20),
    Row("3 nested spans", "ours", "nested", 0.30, 0.20),
    Row("async, 100 at a time", "ours", "async", 0.30, 0.20),
    Row("stream of 50 chunks", "ours", "stream", 0.30, 0.20),
    Row("CPU of the process, a call", "ours", "tiny", 0.30, 0.20, _CPU),
    Row("CPU of the process, a span that arrived", "ours", "tiny", figure=_CPU_A_SPAN),
    Row("sampled out, to a recorded one by hand", "sampled out", "tiny", 0.10),
    Row("sampled out, to one by hand that is too", "sampled out", "tiny", reference=_OFF),
    Row("spool on", "spooled", "tiny", 0.45, 0.30),
    Row("joined: stock processor and exporter", "joined", "tiny", None, 0.60),
)


def measure(rounds: int = ROUNDS) -> Rounds:
    """Time every pair of the table, in turn.

    Raises:
        AssertionError: A client of ours ran with another configuration than a default one.
    """
    pairs = list(dict.fromkeys(row.pair for row in ROWS))
    found: Rounds = {pair: [] for pair in pairs}
    with open_sink(keep=True) as stranger, open_sink(keep=True, is_as_collector=True) as collector:
        default = _features(time_contender("default", "tiny", stranger))
        for pair in pairs * rounds:
            reference, contender, workload, to_collector = pair
            endpoint = collector if to_collector else stranger
            both = [time_contender(name, workload, endpoint) for name in (reference, contender)]
            if contender == "ours":
                assert _features(both[1]) == default, (both[1].configuration, default)
            found[pair].append((both[0], both[1]))
    return found


_TIMED: Final = """
import runpy, sys
sys.argv = ["timed", {!r}, {!r}, {!r}]
runpy.run_module("tests.bench.timed", run_name="__main__")
"""


def measure_beside(tree: Tree) -> Mapping[str, float]:
    """Time what a call costs with the code of a tree: the wall, and CPU of the caller's thread."""
    found = {}
    with open_sink() as stranger, open_sink(is_as_collector=True) as collector:
        for row in ROWS:
            endpoint = collector if row.to_collector else stranger
            if row.figure is not _WALL or row.reference == _OFF:
                continue
            printed = tree.run(_TIMED.format(row.contender, row.workload, endpoint))
            timed = json.loads(printed.splitlines()[-1])
            found[f"{row.title}, µs"] = timed["wall_us"]
            found[f"{row.title}, CPU of the thread, µs"] = timed["thread_us"]
    return found


def report(rounds: int = ROUNDS) -> None:
    """Measure and print the table, and once what was in force."""
    found = measure(rounds)
    print_table(_HEADS, [_cells(row, found[row.pair]) for row in ROWS])
    configuration = found[ROWS[0].pair][0][1].configuration
    print("In force, as in a default client but for the endpoint:", dict(configuration), "\n")


def _features(timed: Timed) -> dict[str, object]:
    return {name: item for name, item in timed.configuration.items() if name != "endpoint"}


def _cells(row: Row, rounds: Sequence[tuple[Timed, Timed]]) -> list[str]:
    by_hand = [row.figure(one) for one, _ in rounds]
    ours = [row.figure(other) for _, other in rounds]
    ratios = [b / a for a, b in zip(by_hand, ours, strict=True)]
    ratio = statistics.median(ratios)
    return [
        row.title,
        spread(ratios),
        "" if row.floor is None else f"{row.floor:.2f}",
        "" if row.stretch is None else f"{row.stretch:.2f}",
        "" if row.floor is None else verdict(ratio <= row.floor),
        spread(ours, digits=1),
        spread(by_hand, digits=1),
        _thread_ratio(rounds) if row.figure is _WALL else "",
        *(_by_thread(rounds) if row.figure is _WALL else ("", "")),
        f"{statistics.median(other.arrived for _, other in rounds):.0%}",
        f"{statistics.median(one.arrived for one, _ in rounds):.0%}",
    ]


def _thread_ratio(rounds: Sequence[tuple[Timed, Timed]]) -> str:
    """What the ratio would be if no thread ever waited: others on the machine disturb it little."""
    return f"{statistics.median(other.thread_us / one.thread_us for one, other in rounds):.2f}"


def _by_thread(rounds: Sequence[tuple[Timed, Timed]]) -> tuple[str, str]:
    """CPU of the caller's thread and of all others, which send; for a call of ours, and by hand."""
    return tuple(  # type: ignore[return-value]  # two, as there are two contenders
        f"{statistics.median(timed.thread_us for timed in times):.1f} + "
        f"{statistics.median(timed.cpu_us - timed.thread_us for timed in times):.1f}"
        for times in ([other for _, other in rounds], [one for one, _ in rounds])
    )
