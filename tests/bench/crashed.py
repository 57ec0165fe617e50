"""Kill -9 of the collector under load, at random moments: what of the acknowledged is lost."""

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
    """What became of the runs.

    Attributes:
        seed: Of the moments.
        kills: Of the collector, `unanswered` requests met one or found nobody there.
        acknowledged: Runs of requests that were answered with success, at last.
        lost: Of those, the ones that no list has.
        twice: Rows in the list beyond the first of each run.
        unknown: Runs in the list that were never sent.
        unequal: Answers that differ from those about the same requests, told once and in peace.
        odd: Answers that an OTLP client would not send again on.
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
        """Whether nothing is lost, doubled or otherwise than in peace."""
        return not (self.lost or self.twice or self.unknown or self.unequal or self.odd)


def measure(kills: int = KILLS, seed: int | None = None) -> Crashed:
    """Kill a collector so often while four senders load it, then ask it about everything.

    What is not acknowledged is sent again, and so is a quarter of what is.
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
                pace(moments.uniform(0, _LATEST_S))  # the moment is what is tried here
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
