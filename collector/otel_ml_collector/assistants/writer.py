"""Stores records that tools write, from their threads, through the usual pipeline."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from otel_ml_collector.access import Access
from otel_ml_collector.assistants.definitions import LIMIT_S
from otel_ml_collector.datasets.turns import Made, Turns
from otel_ml_collector.errors import Unavailable
from otel_ml_collector.feedback import store_request
from otel_ml_collector.receive.pipeline import Intake

_Stored = TypeVar("_Stored")


@dataclass(frozen=True, slots=True)
class Writing:
    """The means to store: the pipeline of all records, and the turns of changes of data sets."""

    pipeline: Intake
    turns: Turns


@dataclass(frozen=True, slots=True)
class ToolWriter:
    """Stores the records of a tool, from its thread; they are durable on return.

    Attributes:
        writing: The pipeline and the turns.
        access: Whose tool it is.
        loop: The event loop of the pipeline.
    """

    writing: Writing
    access: Access
    loop: asyncio.AbstractEventLoop

    def store(self, project: str, body: bytes) -> None:
        """Store records, an OTLP request in JSON, under a project.

        Raises:
            Rejected: They cannot be stored.
            Unavailable: They are not known to be stored.
        """

        async def work() -> None:
            with self.writing.pipeline.hold() as held:
                await store_request(self.writing.pipeline, held, body, self.access, project)

        self._wait(work())

    def change(self, project: str, name: str, make: Callable[[], tuple[Made, bytes]]) -> Made:
        """Change a data set when it is its turn, as `Turns.change` does.

        Raises:
            CollectorError: What `make` raises, or the change is not known to be stored.
        """
        pipeline, turns = self.writing.pipeline, self.writing.turns
        return self._wait(turns.change(pipeline, self.access, (project, name), make))

    def _wait(self, work: Coroutine[Any, Any, _Stored]) -> _Stored:
        """Wait as long as an answer may take: a later answer reaches nobody."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(LIMIT_S)
        except TimeoutError as error:
            future.cancel()
            raise Unavailable(f"Not known to be stored within {LIMIT_S:g} s") from error
