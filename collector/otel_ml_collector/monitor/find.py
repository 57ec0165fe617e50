"""The findings of a project: all that contribute them, behind the API, pages and assistants."""

from typing import Final

from otel_ml_collector.monitor import releases, slices, tag_values
from otel_ml_collector.monitor.findings import (
    Before,
    Contributor,
    Finding,
    find_findings,
    make_question,
)
from otel_ml_collector.stats import Past
from otel_ml_collector.store.reader import Reader

# Whoever has something to tell: each answers `FindingsQuestion` with a list of `Finding`.
CONTRIBUTORS: Final[tuple[Contributor, ...]] = (
    releases.contribute,
    slices.contribute,
    tag_values.contribute,
)


def find_project_findings(
    reader: Reader, project: str, now_ns: int, *, last: Past = "24h", than: Before = "28d"
) -> list[Finding]:
    """Say what is wrong in a project, or other than before, worst first."""
    return find_findings(make_question(reader, project, now_ns, last=last, than=than), CONTRIBUTORS)
