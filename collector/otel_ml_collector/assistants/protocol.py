"""Serves the Model Context Protocol (MCP) with the official Python SDK.

`assistants.routes` imports this module at the first MCP request, because the import takes 26 MB
and a third of a second.
"""

import asyncio
import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from otel_ml_collector.access import ANNOTATE, READ, Access, access_of, note_read
from otel_ml_collector.assistants import activity, experiments, runs, writes
from otel_ml_collector.assistants.answers import Digest, to_text, unshow, write
from otel_ml_collector.assistants.call import (
    ToolCall,
    choose_project,
    explain,
    explain_timeout,
)
from otel_ml_collector.assistants.definitions import (
    ALL_TOOLS,
    ARRIVED,
    INSTRUCTIONS,
    LIMIT_S,
    NAME,
    TOOLS,
    WRITING_TOOLS,
)
from otel_ml_collector.assistants.read import read
from otel_ml_collector.assistants.writer import ToolWriter, Writing
from otel_ml_collector.errors import BadInput, CollectorError, StoreTimeout, Unavailable
from otel_ml_collector.filter.sql import compile_filter
from otel_ml_collector.log import going_on
from otel_ml_collector.receive.admission import Pressure
from otel_ml_collector.store.reader import Reader

_ANSWERS: Final[Mapping[str, Callable[[ToolCall], Digest]]] = {
    "overview": runs.read_overview,
    "find_runs": runs.list_runs,
    "read": read,
    "statistics": runs.count,
    "errors": runs.group_errors,
    "activity": activity.list_changes,
    "compare": experiments.compare,
    "find_experiments": experiments.list_experiments,
    "complete_filter": runs.complete,
    "add_feedback": writes.add_feedback,
    "save_as_tests": writes.save_as_tests,
}
# Tools whose answers contain inputs or outputs of runs.
_PAYLOAD_TOOLS: Final = frozenset({"overview", "find_runs", "read", "errors", "compare"})
# Arguments that are filters, and arguments whose values may be copied from an answer.
_FILTERS: Final = ("where", "text")
_NAMED_ARGUMENTS: Final = ("order", "columns", "group", "dataset", "judge")


class ToolRefused(Exception):
    """A tool call was refused.

    Args:
        message: For the caller: what is wrong and what is expected.
        cause: The collector's error behind the refusal.
    """

    def __init__(self, message: str, cause: CollectorError) -> None:
        super().__init__(message)
        self.cause = cause


def answer(
    tool: str,
    given: Mapping[str, Any],
    reader: Reader,
    base: str,
    now_ns: int,
    *,
    writer: ToolWriter | None = None,
    arrived_s: float = math.inf,
) -> dict[str, Any]:
    """Run a tool and return its answer.

    Args:
        tool: The tool's name.
        given: The arguments of the call, not yet checked.
        reader: The store's reader, limited to the projects of the caller's key.
        base: Base address of the collector, as the caller used it; for links to pages.
        now_ns: The current time.
        writer: Stores records for tools that write; None if this caller may not write.
        arrived_s: When the request arrived, by the clock of `time.monotonic`. Infinite without a
            request: then the answer takes as long as it needs.

    Returns:
        The answer as JSON values, within the size limit of the tool's answers.

    Raises:
        ToolRefused: The call is invalid, or the answer is not available.
    """
    try:
        read_arguments = ALL_TOOLS[tool].read(given)
        project = choose_project(
            reader, read_arguments.get("project"), is_needed=tool != "overview"
        )
        read_arguments = {
            name: _taken_back(name, read_argument) for name, read_argument in read_arguments.items()
        }
        asked = {name: value for name, value in given.items() if value is not None}
        call = ToolCall(
            tool,
            reader,
            read_arguments,
            asked,
            base,
            now_ns,
            project,
            writer,
            arrived_s,
        )
        if tool in _PAYLOAD_TOOLS and project:
            note_read(project, f"{tool} {read_arguments.get('ref') or ''}".strip())
        return write(_ANSWERS[tool](call))
    except CollectorError as error:
        filters = (given.get(name) for name in _FILTERS)
        where = next((text for text in filters if isinstance(text, str)), "")
        raise ToolRefused(explain(error, where), error) from error


def _taken_back(name: str, value: Any) -> Any:
    r"""Undo the ``\u{...}`` escapes in an argument that was copied from an answer.

    A filter is changed only if it does not parse as it is.
    """
    if name in _NAMED_ARGUMENTS:
        return [unshow(item) for item in value] if isinstance(value, list) else unshow(value or "")
    if name in _FILTERS and isinstance(value, str) and unshow(value) != value:
        try:
            compile_filter(value)
        except BadInput:
            return unshow(value)
    return value


_MINUTE_S: Final = 60.0
# Maximum number of calls at the same time, and per minute: for each key, and for all callers
# without a key.
OF_KEY: Final = (4, 120)
OF_ALL: Final = (8, 600)
_THREADS: Final = 8
_MOST_KEYS: Final = 10_000
# Share of the machine's CPU time for tool calls while ingest is under pressure.
_SHARE: Final = 0.03
_POLL_S: Final = 0.25

_logger = logging.getLogger(__name__)

# Counts a call. Arguments: the tool's name, the outcome, the characters of the answer.
Count = Callable[[str, str, int], None]


class TooBusy(Exception):
    """There are too many calls. The message says when to try again."""


@dataclass(slots=True)
class _Asker:
    """The calls of one key: start times in the last minute, and the number running now."""

    began_s: deque[float] = field(default_factory=deque)
    running: int = 0


class CallLimits:
    """Limits the calls of each key at the same time and per minute. Thread-safe.

    Args:
        clock: Returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._askers: dict[str, _Asker] = {}

    def enter(self, key_id: str) -> None:
        """Count the start of a call. Call `leave` when the call ends.

        Args:
            key_id: ID of the caller's key; empty if the collector has no keys.

        Raises:
            TooBusy: The key has too many calls at the same time or in the last minute.
        """
        at_once, a_minute = OF_KEY if key_id else OF_ALL
        now_s = self._clock()
        with self._guard:
            self._forget(now_s)
            asker = self._askers.setdefault(key_id, _Asker())
            while asker.began_s and asker.began_s[0] <= now_s - _MINUTE_S:
                asker.began_s.popleft()
            if asker.running >= at_once:
                raise TooBusy(f"more than {at_once} calls at once: wait until one ends")
            if len(asker.began_s) >= a_minute:
                wait_s = max(round(asker.began_s[0] + _MINUTE_S - now_s), 1)
                raise TooBusy(f"more than {a_minute} calls a minute: try again in {wait_s} s")
            asker.began_s.append(now_s)
            asker.running += 1

    def leave(self, key_id: str) -> None:
        """Count the end of a call."""
        with self._guard:
            self._askers[key_id].running -= 1

    def _forget(self, now_s: float) -> None:
        """Remove keys without calls in the last minute, once there are 10,000 keys."""
        if len(self._askers) < _MOST_KEYS:
            return
        for key_id, asker in list(self._askers.items()):
            is_old = not asker.began_s or asker.began_s[-1] <= now_s - _MINUTE_S
            if is_old and not asker.running:
                del self._askers[key_id]


class Yielding:
    """Gives ingest priority over tool calls.

    Under pressure, tool calls run one at a time, with pauses that keep them at 3 % of the CPU time.

    Args:
        pressure: Reports whether ingest is under pressure.
        cores: Number of the machine's CPU cores.
    """

    def __init__(self, pressure: Pressure, cores: int) -> None:
        self._pressure = pressure
        self._turn = asyncio.Lock()
        self._free_s = 0.0
        self._rest = max(1 / (_SHARE * cores) - 1, 0.0)

    @asynccontextmanager
    async def turn(self, limit_s: float) -> AsyncIterator[None]:
        """Wait until a tool call may run. Use it as ``async with`` around the call.

        Without pressure on ingest, it does not wait.

        Args:
            limit_s: Longest wait in seconds.

        Raises:
            TooBusy: The call may not run within that time.
        """
        if not self._pressure.is_high:
            yield
            return
        try:
            async with asyncio.timeout(limit_s):
                await self._wait()
        except TimeoutError as error:
            wait_s = max(self._free_s - time.monotonic(), limit_s)
            text = f"the collector is busy storing data: try again in {wait_s:.0f} s"
            raise TooBusy(text) from error
        began_s = time.monotonic()
        try:
            yield
        finally:
            ended_s = time.monotonic()
            self._free_s = ended_s + (ended_s - began_s) * self._rest
            self._turn.release()

    async def _wait(self) -> None:
        await self._turn.acquire()
        try:
            while (left_s := self._free_s - time.monotonic()) > 0 and self._pressure.is_high:
                await asyncio.sleep(min(left_s, _POLL_S))
        except asyncio.CancelledError:
            self._turn.release()
            raise


class Assistants:
    """ASGI app that answers MCP requests. Requests are stateless; each answer is one JSON document.

    Args:
        reader: The store's reader.
        count: Called after each tool call.
        pressure: Reports whether ingest is under pressure; ingest has priority.
        writing: Stores records for tools that write; None if there are no such tools.
        limit_s: Time limit of an answer in seconds.
    """

    def __init__(
        self,
        reader: Reader,
        count: Count,
        pressure: Pressure,
        writing: Writing | None = None,
        *,
        limit_s: float = LIMIT_S,
    ) -> None:
        self._reader = reader
        self._limit_s = limit_s
        self._writing = writing
        self._count = count
        self._limits = CallLimits()
        self._yielding = Yielding(pressure, os.cpu_count() or 1)
        self._threads = ThreadPoolExecutor(_THREADS, "assistant")
        self._tools = {
            name: Tool.model_validate(tool.definition) for name, tool in ALL_TOOLS.items()
        }
        here = TOOLS if writing is None else ALL_TOOLS
        self._server = Server[Any](
            NAME,
            version=version("otel-ml"),
            instructions=INSTRUCTIONS,
            get_tool_input_schema=lambda name: here[name].input_schema if name in here else None,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
        )
        self._server.middleware.clear()  # or the answers would be recorded as spans
        # The SDK logs a line for each request.
        logging.getLogger("mcp").setLevel(logging.ERROR)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an HTTP request whose API key has been checked."""
        manager = StreamableHTTPSessionManager(self._server, json_response=True, stateless=True)
        async with manager.run():
            await manager.handle_request(scope, receive, send)

    async def _list_tools(
        self, context: Any, params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        access = access_of(context.request.scope)
        return ListToolsResult(tools=[self._tools[name] for name in self._names(access)])

    def _names(self, access: Access) -> Collection[str]:
        """Return the names of the tools that a caller may use."""
        may_write = self._writing is not None and access.has(ANNOTATE)
        return ALL_TOOLS if may_write else TOOLS

    async def _call_tool(self, context: Any, params: CallToolRequestParams) -> CallToolResult:
        request: Request = context.request
        access = access_of(request.scope).demand(READ)
        if params.name not in self._names(access):
            raise MCPError(INVALID_PARAMS, f"Unknown tool {params.name[:80]!r}")
        try:
            base, arrived_s = (
                str(request.base_url).rstrip("/"),
                request.scope.get(ARRIVED, time.monotonic()),
            )
            written = await self._ask(params, access, base, arrived_s)
        except ToolRefused as error:
            outcome = "timeout" if isinstance(error.cause, StoreTimeout) else "refused"
            return self._refuse(params.name, outcome, str(error))
        except TooBusy as error:
            return self._refuse(params.name, "busy", str(error))
        except TimeoutError:
            return self._refuse(params.name, "timeout", explain_timeout(self._limit_s))
        text = to_text(written)
        self._count(params.name, "answered", len(text))
        return CallToolResult(
            content=[TextContent(type="text", text=text)], structured_content=written
        )

    async def _ask(
        self, params: CallToolRequestParams, access: Access, base: str, arrived_s: float
    ) -> dict[str, Any]:
        """Run a tool call on a worker thread.

        Raises:
            ToolRefused: The call is invalid, or the answer is not available.
            TooBusy: There are too many calls.
            TimeoutError: The answer takes too long. The thread still runs to its end.
        """
        self._limits.enter(access.key_id)
        future: Future[dict[str, Any]] | None = None
        try:
            async with asyncio.timeout(self._limit_s), self._yielding.turn(self._limit_s / 2):
                future = self._begin(params, access, base, arrived_s)
                waited = asyncio.wrap_future(future)
                # Read the error: after a timeout, asyncio would log that nobody retrieved it.
                waited.add_done_callback(lambda done: done.cancelled() or done.exception())
                return await asyncio.shield(waited)
        finally:
            if future is None:
                self._limits.leave(access.key_id)
            else:
                future.add_done_callback(lambda _: self._limits.leave(access.key_id))

    def _begin(
        self, params: CallToolRequestParams, access: Access, base: str, arrived_s: float
    ) -> Future[dict[str, Any]]:
        """Start a tool call on a worker thread; the future fails only with `ToolRefused`."""
        reader = self._reader.narrow(access)
        writer = None
        if self._writing is not None and params.name in WRITING_TOOLS:
            writer = ToolWriter(self._writing, access, asyncio.get_running_loop())

        def work() -> dict[str, Any]:
            troubles: list[Exception] = []
            entries: dict[str, Any] = {}
            with going_on(troubles.append):  # counted, logged and answered below
                given = params.arguments or {}
                entries = answer(
                    params.name,
                    given,
                    reader,
                    base,
                    time.time_ns(),
                    writer=writer,
                    arrived_s=arrived_s,
                )
            for trouble in troubles:
                if isinstance(trouble, ToolRefused):
                    raise trouble
                _logger.error(
                    "The tool %s raised an error: %s", params.name, type(trouble).__name__
                )
                broken = Unavailable(
                    f"The collector had an internal error: {type(trouble).__name__}"
                )
                raise ToolRefused(str(broken), broken) from trouble
            return entries

        # Links need the base path of the request.
        return self._threads.submit(copy_context().run, work)

    def _refuse(self, tool: str, outcome: str, message: str) -> CallToolResult:
        self._count(tool, outcome, len(message))
        return CallToolResult(content=[TextContent(type="text", text=message)], is_error=True)
