"""Run each case untraced and traced, then read its runs from the collector's store."""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from otel_ml import Client
from tests.support.collector import CollectorProcess
from tests.support.hostile import arguments, hosts, processes, raising, streams, together
from tests.support.hostile.case import Case

CASES: Final = [
    *arguments.CASES,
    *raising.CASES,
    *streams.CASES,
    *together.CASES,
    *processes.CASES,
    *hosts.CASES,
]


@dataclasses.dataclass(frozen=True)
class Row:
    """The results of a case.

    Attributes:
        case: Its name.
        plain: The result without tracing.
        traced: The result with tracing.
        runs: How many of its runs are in the store, by outcome.
        inputs: The inputs of its last run, if the case is about them.
    """

    case: str
    plain: str
    traced: str
    runs: dict[str, int]
    inputs: object = None

    def is_right(self, case: Case) -> bool:
        """Return whether the result equals the untraced one and the expected runs are stored."""
        return self == self.wanted(case)

    def wanted(self, case: Case) -> "Row":
        """Return the expected row: the untraced result, and the runs of the case."""
        runs = {case.outcome: case.runs} if case.runs else {}
        kept = self.runs if case.runs is None else runs
        return dataclasses.replace(self, traced=self.plain, runs=kept, inputs=case.inputs)


def run(
    client: Client, project: str, collector: CollectorProcess, cases: Sequence[Case]
) -> Iterator[Row]:
    """Run all cases untraced and traced, flush once, then read the runs."""
    answers = {
        case.name: (answer(case, _untraced), answer(case, client.trace(name=case.name)))
        for case in cases
    }
    delivery = client.flush(60)
    if not delivery:
        raise RuntimeError(f"Not delivered: {delivery}, the collector says:\n{collector.output}")
    found = collector.runs(project)
    counts: dict[str, Counter[str]] = {case.name: Counter() for case in cases}
    for one in found:
        counts[one["model"]][one["outcome"]] += 1
    last = {one["model"]: one["run_id"] for one in found}
    for case in cases:
        inputs = None
        if case.inputs is not None:
            inputs = _inputs(collector.get(f"/projects/{project}/runs/{last[case.name]}"))
        yield Row(case.name, *answers[case.name], dict(counts[case.name]), inputs)


def answer(case: Case, trace: Callable[[Any], Any]) -> str:
    """Run a case; return its result or exception as text."""
    try:
        return repr(case.use(trace(case.function), *case.arguments()))
    except Exception as error:  # noqa: BLE001 - an exception is a valid result
        return f"raised {type(error).__qualname__}{error.args!r}"


def _untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def _inputs(run: Any) -> object:
    inputs: object = run["inputs"]
    return json.loads(inputs) if isinstance(inputs, str) else inputs


def write(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the table line by line."""
    cases = {case.name: case for case in CASES}
    yield f"{'case':48} {'answer':>8} {'runs':>6}  outcome"
    for row in rows:
        same = "as is" if row.plain == row.traced else "DIFFERS"
        outcome = ", ".join(row.runs) or "-"
        mark = "" if row.is_right(cases[row.case]) else "  WRONG"
        yield f"{row.case:48} {same:>8} {sum(row.runs.values()):>6}  {outcome}{mark}"
