"""Stores the records of tools that write, through the same pipeline as received records."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from otel_ml_collector.access import Access
from otel_ml_collector.assistants.definitions import LIMIT_S
from otel_ml_collector.errors import Unavailable
from otel_ml_collector.evaluations.dataset_turns import Made, Turns
from otel_ml_collector.feedback import store_request
from otel_ml_collector.receive.pipeline import Intake

_Stored = TypeVar("_Stored")


@dataclass(frozen=True, slots=True)
class Writing:
    """Stores records for tools.

    Attributes:
        pipeline: The pipeline that stores all records.
        turns: Lets one change of a data set run at a time.
    """

    pipeline: Intake
    turns: Turns


@dataclass(frozen=True, slots=True)
class ToolWriter:
    """Stores the records of a tool call. Call it from the tool's thread, not from the event loop.

    When a method returns, the records are durable.

    Attributes:
        writing: The pipeline that stores records, and the locks for changes of data sets.
        access: The rights of the caller's key.
        loop: The event loop of the pipeline.
    """

    writing: Writing
    access: Access
    loop: asyncio.AbstractEventLoop

    def store(self, project: str, body: bytes) -> None:
        """Store records in a project.

        Args:
            project: The project.
            body: OTLP request with the records, as JSON.

        Raises:
            Rejected: The records are invalid.
            Unavailable: It is unknown whether the records were stored.
        """

        async def work() -> None:
            with self.writing.pipeline.hold() as held:
                await store_request(self.writing.pipeline, held, body, self.access, project)

        self._wait(work())

    def change(self, project: str, name: str, make: Callable[[], tuple[Made, bytes]]) -> Made:
        """Change a data set, after earlier changes of it have ended.

        Args:
            project: The project.
            name: The data set's name.
            make: Returns the result, and the OTLP request that stores the change (empty for none).

        Returns:
            The result of `make`.

        Raises:
            CollectorError: `make` raised it, or it is unknown whether the change was stored.
        """
        pipeline, turns = self.writing.pipeline, self.writing.turns
        return self._wait(turns.change(pipeline, self.access, (project, name), make))

    def _wait(self, work: Coroutine[Any, Any, _Stored]) -> _Stored:
        """Run a coroutine on the event loop and wait for it, at most `LIMIT_S` seconds."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(LIMIT_S)
        except TimeoutError as error:
            future.cancel()
            raise Unavailable(f"Not confirmed as stored within {LIMIT_S:g} s") from error
