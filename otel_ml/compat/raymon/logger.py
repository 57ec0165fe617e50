"""Raymon's logger as a thin face of `otel_ml.Client`."""

from collections.abc import Iterable
from uuid import UUID

from otel_ml.client import Client
from otel_ml.compat.raymon.tag import AnyTag, read_tags


class RaymonAPILogger:
    """Sends what is logged from a thread of its own; a missing server is no error.

    Args:
        project_id: Where the traces gather.
        url: Base address of the collector; as in `otel_ml.Client` when not given.
        auth_path: Taken and not read; the key is ``OTEL_ML_API_KEY``.
        env: Taken and not read, too.
        batch_size: Taken and not needed: records leave in batches by themselves.

    Attributes:
        client: What sends.
    """

    def __init__(
        self,
        project_id: str,
        url: str | None = None,
        auth_path: object = None,
        env: object = None,
        batch_size: int = 1,
    ) -> None:
        self.project_id = project_id
        self.client = Client(str(project_id), endpoint=url)

    def info(self, trace_id: str | UUID, text: str) -> None:
        """Add a line of text to a trace, wherever it is; see `otel_ml.Client.about`."""
        self.client.about(trace_key=str(trace_id)).info(text)

    def log(self, trace_id: str | UUID, ref: str, data: object) -> None:
        """Log data under a reference of a trace, wherever it is."""
        self.client.about(trace_key=str(trace_id)).log(ref, data)

    def tag(self, trace_id: str | UUID, tags: Iterable[AnyTag]) -> None:
        """Tag a trace, wherever it is.

        Raises:
            ValueError: One of them is no tag.
        """
        self.client.about(trace_key=str(trace_id)).tag(read_tags(tags))

    def flush(self) -> None:
        """Deliver what is queued. Runs at exit by itself; what cannot be delivered is kept."""
        self.client.flush()
