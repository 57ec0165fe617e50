"""What is said on pages of spans that were sent and are not here."""

from fastapi import Request

from otel_ml_collector.loss.watch import LossWatch
from otel_ml_collector.store.reader import Reader


def missing_spans(
    request: Request, reader: Reader, project: str | None = None
) -> list[tuple[str, int]]:
    """Name projects of which spans are missing, as the watch saw them last."""
    watch: LossWatch = request.app.state.losses
    return watch.missing_of(reader.access, project)
