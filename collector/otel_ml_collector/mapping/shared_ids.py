"""Different spans that have the same project, trace, id and start.

A client and a server that share a span id, as Zipkin's do, are kept both: they began at different
times. Of those that did not, a single span is kept, and the others are reported to their senders.
Why: docs/design/023-shared-ids.md.
"""

from collections.abc import Iterable
from typing import Final

from otel_ml_collector.records import Run

SHARED_ID: Final = "shared_span_id"
SHARED_ID_MEANS: Final = "another span of the trace has their id and start, and one is kept"
# 6 MB: so many of the newest spans are known across requests.
_KNOWN_SPANS: Final = 65_536


class SpanOwners:
    """Kind and service of recent spans, by project, trace, id and start.

    Of any thread: what two requests learn at once, each of them knows soon after.
    """

    def __init__(self) -> None:
        self._owners: dict[int, int] = {}

    def count_shared(self, runs: Iterable[Run], service: str) -> int:
        """Count the runs of a service whose span another service or kind has already sent.

        A delivery that comes again is not counted; of two spans the later one is, each time.
        """
        owners, shared = self._owners, 0
        for run in runs:
            span = hash((run.project, run.trace_id, run.span_id, run.start_ns))
            owner = hash((run.span_kind, service))
            if owners.setdefault(span, owner) != owner:
                shared += 1
        if len(owners) > _KNOWN_SPANS:
            self._owners = {}
        return shared
