"""Kill -9 the collector under load at random moments and count lost acknowledged runs."""

import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.pace import pace
from tests.bench.table import print_table, verdict
from tests.support.collector import CollectorProcess
from tests.support.load import PROTOBUF
from tests.support.reports import answers_about, filed_under
from tests.support.senders import LATER, OK, UNREACHED, Senders, all_run_ids

KILLS: Final = 20
_LATEST_S: Final = 1.0
_PROJECT: Final = "killed"
_CALM: Final = "calm"
_TOGETHER: Final = 8
_SPANS: Final = 16


@dataclass(frozen=True, slots=True)
class Crashed:
    """The outcome of all runs.

    Attributes:
        seed: Seed of the random moments.
        kills: How often the collector was killed.
        unanswered: Requests that were cut off by a kill or found no collector.
        acknowledged: Runs of requests that finally got a success response.
        lost: Acknowledged runs that the list does not have.
        twice: Rows in the list beyond the first of each run.
        unknown: Runs in the list that were never sent.
        unequal: API responses that differ from those of a calm collector with the same requests.
        odd: Responses after which an OTLP client would not retry.
    """

    seed: int
    kills: int
    unanswered: int
    acknowledged: int
    lost: int
    twice: int
    unknown: int
    unequal: Sequence[str]
    odd: Sequence[str]

    @property
    def is_right(self) -> bool:
        """Whether nothing is lost, duplicated or different from a calm collector."""
        return not (self.lost or self.twice or self.unknown or self.unequal or self.odd)


def measure(kills: int = KILLS, seed: int | None = None) -> Crashed:
    """Kill a collector while four senders load it, then query all it stored.

    Requests that are not acknowledged are sent again, and so are a quarter of the others.
    """
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    moments = random.Random(seed)  # noqa: S311 - any moment will do
    with tempfile.TemporaryDirectory() as folder:
        collector = CollectorProcess(Path(folder) / "data")
        try:
            collector.wait_ready()
            senders = Senders(collector, _PROJECT, spans=_SPANS)
            for _ in range(kills):
                senders.wait_for(1)
                pace(moments.uniform(0, _LATEST_S))  # kill at a random moment
                collector.kill()
                collector.restart()
            senders.drain()
            return _judge(seed, kills, collector, senders)
        finally:
            collector.kill()


def report(kills: int = KILLS) -> None:
    """Measure and print."""
    found = measure(kills)
    heads = ("kill -9 of the collector", "acknowledged runs", "lost", "twice", "other answers", "")
    row = (
        *(f"{found.kills} kills", f"{found.acknowledged:,}", f"{found.lost}", f"{found.twice}"),
        *(", ".join([*found.unequal, *found.odd]) or "0", verdict(found.is_right)),
    )
    print_table(heads, [row])


def _judge(seed: int, kills: int, collector: CollectorProcess, senders: Senders) -> Crashed:
    expected = set(all_run_ids(senders.acknowledged))
    listed = Counter(str(run["run_id"]) for run in collector.runs(_PROJECT))
    with ThreadPoolExecutor(_TOGETHER) as pool:
        bodies = (filed_under(_CALM, body) for body in senders.acknowledged)
        for status, _, _ in pool.map(
            lambda body: collector.post("/v1/traces", body, PROTOBUF), bodies
        ):
            assert status == 200
    killed, calm = (answers_about(collector, project) for project in (_PROJECT, _CALM))
    return Crashed(
        seed=seed,
        kills=kills,
        unanswered=senders.answers[UNREACHED],
        acknowledged=len(expected),
        lost=len(expected - listed.keys()),
        twice=listed.total() - len(listed),
        unknown=len(listed.keys() - expected),
        unequal=[name for name, answer in calm.items() if killed[name] != answer],
        odd=sorted(senders.answers.keys() - OK - LATER - {UNREACHED}),
    )
