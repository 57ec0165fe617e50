"""An intake pipeline over a fake store whose behaviour tests set, for tests of the receivers."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from otel_ml_collector.receive.commit import Commit
from otel_ml_collector.receive.pipeline import Intake
from otel_ml_collector.records import Records
from otel_ml_collector.telemetry.service import Telemetry
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.wire import encode


@dataclass(frozen=True, slots=True)
class Backend:
    """The pipeline behind a receiver; `stored` has the records that the store received."""

    pipeline: Intake
    telemetry: Telemetry
    stored: Records

    def requests(self) -> dict[str, float]:
        """Return how many requests were counted, by transport and response."""
        lines = self.telemetry.render().decode().splitlines()
        counts = [line.rpartition(" ") for line in lines if line.startswith("otel_ml_requests_t")]
        return {name.partition("{")[2][:-1]: float(n) for name, _, n in counts if float(n)}


@contextmanager
def open_backend(behave: Callable[[], None] = lambda: None) -> Iterator[Backend]:
    """Run a pipeline; `behave` is called before each group is stored, and may raise."""
    stored, telemetry = Records(), Telemetry()

    def write(records: Records) -> None:
        behave()
        stored.extend(records)

    commit = Commit(write, telemetry, collect_s=0)
    pipeline = Intake(commit, telemetry)
    try:
        yield Backend(pipeline, telemetry, stored)
    finally:
        pipeline.close()
        commit.close(10)


def make_body(*span_ids: bytes) -> bytes:
    """Make a request of spans that start now."""
    start_ns = time.time_ns()
    return encode([make_call(span_id=span_id, start_ns=start_ns) for span_id in span_ids])
