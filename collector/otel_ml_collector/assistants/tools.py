"""Answers a call of a tool: reads its arguments, chooses the project, writes the answer."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from otel_ml_collector.assistants import experiments, runs, writes
from otel_ml_collector.assistants.answers import Digest, unshow, write
from otel_ml_collector.assistants.call import (
    ToolCall,
    check_filter,
    choose_project,
    explain,
)
from otel_ml_collector.assistants.definitions import ALL_TOOLS
from otel_ml_collector.assistants.read import read
from otel_ml_collector.assistants.writer import ToolWriter
from otel_ml_collector.errors import BadQuery, CollectorError
from otel_ml_collector.store.reader import Reader

_ANSWERS: Final[Mapping[str, Callable[[ToolCall], Digest]]] = {
    "overview": runs.look_over,
    "find_runs": runs.list_runs,
    "read": read,
    "statistics": runs.count,
    "errors": runs.group_errors,
    "compare": experiments.compare,
    "find_experiments": experiments.list_experiments,
    "complete_filter": runs.complete,
    "add_feedback": writes.add_feedback,
    "save_as_tests": writes.save_as_tests,
}
# Arguments that are filters, and those that name what an answer may have printed.
_FILTERS: Final = ("where", "text")
_NAMES: Final = ("order", "columns", "group", "dataset", "judge")


class ToolRefused(Exception):
    """A call that has no answer; the message is for whoever asked.

    Args:
        message: What is wrong, and what would be right.
        cause: What it was.
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
) -> dict[str, Any]:
    """Answer a call of a tool, at most as long as its answers may be.

    Args:
        tool: One of `ALL_TOOLS`; one that writes only where there is a writer.
        given: Its arguments, as they came.
        reader: The store, held to whoever asks.
        base: The address of the collector, as it was asked.
        now_ns: The time.
        writer: Stores what a tool writes.

    Raises:
        ToolRefused: It has no answer.
    """
    try:
        read_arguments = ALL_TOOLS[tool].read(given)
        project = choose_project(
            reader, read_arguments.get("project"), is_needed=tool != "overview"
        )
        read_arguments = {name: _taken_back(name, one) for name, one in read_arguments.items()}
        asked = {name: value for name, value in given.items() if value is not None}
        call = ToolCall(tool, reader, read_arguments, asked, base, now_ns, project, writer)
        return write(_ANSWERS[tool](call))
    except CollectorError as error:
        filters = (given.get(name) for name in _FILTERS)
        where = next((text for text in filters if isinstance(text, str)), "")
        raise ToolRefused(explain(error, where), error) from error


def _taken_back(name: str, value: Any) -> Any:
    """Read a name with the visible escapes that an answer wrote; a filter only where it must be."""
    if name in _NAMES:
        return [unshow(one) for one in value] if isinstance(value, list) else unshow(value or "")
    if name in _FILTERS and isinstance(value, str) and unshow(value) != value:
        try:
            check_filter(value)
        except BadQuery:
            return unshow(value)
    return value
