"""Detects different spans with the same project, trace id, span id and start time.

A client span and a server span that share a span id, as in Zipkin, are both stored because they
start at different times. If the start times are equal, only one span is stored. The others are
reported to their senders as rejected. Why: docs/design/023-shared-ids.md.
"""

from collections.abc import Iterable
from typing import Final

from otel_ml_collector.records import Run

SHARED_ID: Final = "shared_span_id"
SHARED_ID_MEANS: Final = "another span of the trace has their id and start, and one is kept"
# Number of recent spans remembered across requests. Uses 6 MB.
_KNOWN_SPANS: Final = 65_536


class SpanOwners:
    """Remembers the kind and service of recent spans, by project, trace id, span id and start.

    Any thread may use it. Two concurrent requests may each miss what the other has just added.
    """

    def __init__(self) -> None:
        self._owners: dict[int, int] = {}

    def find_shared(self, runs: Iterable[Run], service: str) -> list[Run]:
        """Find the runs whose span ID was already used by another service or another span kind.

        A span that is sent twice has no conflict with itself. If two different spans have one ID,
        the one that arrived later is found, also when it is sent again.
        """
        owners, shared = self._owners, []
        for run in runs:
            span = hash((run.project, run.trace_id, run.span_id, run.start_ns))
            owner = hash((run.span_kind, service))
            if owners.setdefault(span, owner) != owner:
                shared.append(run)
        if len(owners) > _KNOWN_SPANS:
            self._owners = {}
        return shared
