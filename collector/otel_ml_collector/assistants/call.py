"""A tool call with its arguments, project and time range, and the messages of refused calls."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from otel_ml_collector.assistants.answers import (
    ASKED_CHARS,
    USUAL_CHARS,
    Own,
    number,
    show,
    unshow,
)
from otel_ml_collector.assistants.definitions import LIMIT_S
from otel_ml_collector.assistants.writer import ToolWriter
from otel_ml_collector.completion import explain_names
from otel_ml_collector.errors import (
    BadInput,
    CollectorError,
    Missing,
    StoreTimeout,
    Unavailable,
)
from otel_ml_collector.filter.fields import nearest
from otel_ml_collector.filter.sql import compile_filter
from otel_ml_collector.runs.answers import RunSummary
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.store.facts import has_records
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import AHEAD_NS, SECOND_NS, UNITS_NS, from_rfc3339, to_rfc3339
from otel_ml_collector.unread import find_unread
from otel_ml_collector.web import view
from otel_ml_collector.windows import Window

_AGO: Final = re.compile("([0-9]{1,6})([smhdw])", re.ASCII)
_WORD: Final = re.compile(r"[A-Za-z_]\w*")
_QUOTED: Final = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'")
_MENDS: Final = 5
# Syntax of other languages, and the filter language's syntax for the same thing.
_MEANT: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"\s*&&\s*"), " and "),
    (re.compile(r"\s*\|\|\s*"), " or "),
    (re.compile(r"\bAND\b"), "and"),
    (re.compile(r"\bOR\b"), "or"),
    (re.compile(r"\bNOT\b"), "not"),
    (re.compile(r"<>"), "!="),
    (re.compile(r"(?<![=!<>])=(?!=)"), "=="),
    (re.compile(r"\btrue\b"), "True"),
    (re.compile(r"\bfalse\b"), "False"),
)
SHORT_CHARS: Final = 16


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call with checked arguments.

    Attributes:
        tool: The tool's name.
        reader: The store's reader, limited to the projects of the caller's key.
        given: All arguments of the tool, with defaults for missing ones.
        asked: The arguments that the caller gave.
        base: Base address of the collector, as the caller used it.
        now_ns: The current time.
        project: The project's name; empty if the call is about no single project.
        writer: Stores the records of the tool; None if the caller may not write.
        arrived_s: When the request arrived, by the clock of `time.monotonic`; infinite without one.
    """

    tool: str
    reader: Reader
    given: Mapping[str, Any]
    asked: Mapping[str, Any]
    base: str
    now_ns: int
    project: str = ""
    writer: ToolWriter | None = None
    arrived_s: float = math.inf

    @property
    def where(self) -> str:
        """The filter; empty for all runs."""
        return self.given.get("where") or ""

    @property
    def limit(self) -> int:
        """The argument ``limit``: maximum number of rows in the answer."""
        return int(self.given["limit"])

    @property
    def chars(self) -> int:
        """Maximum characters of the answer: more if the caller gave ``limit`` or ``show``."""
        return ASKED_CHARS if "limit" in self.asked or "show" in self.asked else USUAL_CHARS

    @property
    def window(self) -> Window:
        """The time range from ``since`` and ``until``; without ``until``, it ends now.

        Raises:
            BadInput: A time is invalid, or the end is not after the start.
        """
        start_ns = read_time(self.given.get("since"), "since", self.now_ns) or 0
        end_ns = read_time(self.given.get("until"), "until", self.now_ns)
        if end_ns is None:
            end_ns = self.now_ns + AHEAD_NS
        if end_ns <= start_ns:
            raise BadInput(f"until: {self.given['until']!r}: expected a time after since", "until")
        return Window(start_ns, end_ns)

    def query(self, limit: int = 0, **more: Any) -> RunsQuery:
        """Return the query for the runs that match the call's filter and time range.

        Args:
            limit: Maximum number of runs to list. It can be left out if no runs are listed, for
                example to count errors.
            more: Other fields of `RunsQuery`.
        """
        window = self.window
        bounds = {"start_ns": window.start_ns, "end_ns": window.end_ns}
        return RunsQuery(self.project, self.where, **{"limit": limit or 1, **bounds, **more})

    def page(self, *parts: str, **parameters: object) -> str:
        """Return the address of a page of the project."""
        return f"{self.base}{view.address(self.project, *parts, **parameters)}"

    def runs_page(self, **more: object) -> str:
        """Return the address of the page that lists the matching runs."""
        window = self.window
        end = write_time(window.end_ns) if self.given.get("until") else None
        return self.page(
            "runs", where=self.where, start=write_time(window.start_ns), end=end, **more
        )

    def go_on(self, tool: str = "", **changes: object) -> dict[str, Any]:
        """Return a follow-up call with the same project, filter and time range.

        Args:
            tool: The tool to call; empty for the same tool with the same arguments.
            changes: Arguments to change.
        """
        window = self.window if "since" in self.given else None
        arguments: dict[str, object] = {**self.asked, "project": self.project}
        is_other = bool(tool) and tool != self.tool
        if is_other:
            arguments = {"project": self.project, "where": self.where}
        if tool == "find_experiments":
            return {"tool": tool, "arguments": {"project": self.project}}
        if window is not None:  # absolute times, so that the follow-up call finds the same runs
            arguments["since"] = write_time(window.start_ns)
            if self.given.get("until"):
                arguments["until"] = write_time(window.end_ns)
        arguments |= changes
        known = {name: value for name, value in arguments.items() if value not in (None, "")}
        return {"tool": tool or self.tool, "arguments": known}

    def more_rows(self, high: int) -> Callable[[int], Mapping[str, Any] | None]:
        """Return a function that builds the next call of a tool, to see more rows of a list.

        An answer tells an assistant which call to make next. For a list without a cursor, it is the
        same call with a larger ``limit``. The function takes the number of rows shown so far, and
        returns None if ``limit`` cannot be larger.

        Args:
            high: The largest allowed ``limit``.
        """

        def more(shown: int) -> Mapping[str, Any] | None:
            wanted = min(max(2 * shown, self.limit + 1), high)
            return self.go_on(limit=wanted) if wanted > max(shown, self.limit) else None

        return more

    def explain_nothing(self) -> str:
        """Explain in a sentence why no run matches, and name the newest run before the range."""
        window = self.window
        before = RunsQuery(self.project, self.where, limit=1, end_ns=window.end_ns)
        since = _to_minute(to_rfc3339(window.start_ns))
        try:
            runs = find_runs(self.reader, before, self.now_ns).runs
        except BadInput:  # the filter needs a start time
            return f"no run since {since} matches"
        if runs:
            newest = _to_minute(runs[0].start_time)
            return f"no run since {since}; the newest match is from {newest}"
        if unread := find_unread(self.reader, self.project):
            return f"the project has no runs: {show(str(unread))}"
        if not self.where:
            return f"no run since {since}, nor before"
        every = RunsQuery(self.project, "", limit=1, end_ns=window.end_ns)
        newest_run = find_runs(self.reader, every, self.now_ns).runs
        if not newest_run:
            return "the project has no runs"
        newest = _to_minute(newest_run[0].start_time)
        unknown = explain_names(self.reader, self.project, self.where, self.now_ns)
        hints = [f"no run has ever matched; the newest run of the project is from {newest}"]
        return "; ".join([*hints, *map(show, unknown)])


def read_time(text: str | None, name: str, now_ns: int) -> int | None:
    """Parse an age such as ``24h``, or a time in RFC 3339.

    Args:
        text: The age or time; None or empty for no time.
        name: The argument's name, for the error.
        now_ns: The current time.

    Returns:
        Nanoseconds since the epoch (UTC); None without a text.

    Raises:
        BadInput: The text is neither an age nor a time.
    """
    if not text:
        return None
    match = _AGO.fullmatch(text.strip())
    if match is not None:
        start_ns = max(now_ns - int(match[1]) * UNITS_NS[match[2]], 0)
        return start_ns // SECOND_NS * SECOND_NS
    try:
        return from_rfc3339(text.strip(), name)
    except BadInput as error:
        raise BadInput(
            f"{name}: {show(text[:40])!r}: expected 15m, 24h, 7d or a time such as "
            "2026-11-20T07:16:40Z",
            name,
        ) from error


def write_time(time_ns: int) -> str:
    """Return a time in RFC 3339, without a fraction if it is a whole second."""
    text = to_rfc3339(time_ns)
    return text.replace(".000000000", "")


def choose_project(reader: Reader, given: str | None, *, is_needed: bool) -> str:
    """Choose the project of a call: the given one, else the only project of the key.

    Args:
        reader: The store's reader, limited to the projects of the caller's key.
        given: The argument ``project``.
        is_needed: Whether the tool needs a project.

    Returns:
        The project's name; empty if there is none.

    Raises:
        Missing: The project does not exist, or the key has no access to it.
        BadInput: The tool needs a project, and none is given.
    """
    own = reader.access.projects
    name = given or (own[0] if own is not None and len(own) == 1 else "")
    if not name and is_needed:
        raise BadInput("project: missing: expected a project that overview lists", "project")
    for text in dict.fromkeys((name, unshow(name))):
        if text and reader.access.reaches(text) and has_records(reader, text):
            return text
    if name:
        raise Missing(f"There is no project {show(name[:80])!r}")
    return ""


def explain(error: CollectorError, where: str) -> str:
    """Return the message for a refused call.

    For an invalid filter, the message also has the line of the filter, a ``^`` below the error, and
    a corrected filter if there is one.

    Args:
        error: Why the call is refused.
        where: The filter of the call.
    """
    if (
        isinstance(error, BadInput)
        and error.field == "where"
        and where
        and error.column is not None
    ):
        column = min(error.column, len(where))
        start = where.rfind("\n", 0, column) + 1
        line = where[start:].partition("\n")[0]
        lines = [
            f"where: {show(str(error))}",
            show(line),
            f"{' ' * len(show(line[: column - start]))}^",
        ]
        mended = mend(where)
        return "\n".join([*lines, f"try: {mended}"] if mended else lines)
    if isinstance(error, StoreTimeout):
        return explain_timeout(LIMIT_S)
    if isinstance(error, Unavailable):
        return f"{error}: try again in {max(round(error.retry_after_s), 1)} s"
    return show(str(error))


def explain_timeout(limit_s: float) -> str:
    """Return the message for an answer that took too long."""
    return f"The answer took longer than {limit_s:g} s: narrow it with since, until or where"


def mend(where: str) -> str:
    """Correct a filter's common mistakes, such as ``&&`` or a misspelt field.

    Returns:
        The corrected filter; empty if it still does not parse, or is unchanged.
    """
    texts = _QUOTED.findall(where)
    between = _QUOTED.split(where)
    for pattern, meant in _MEANT:
        between = [pattern.sub(meant, part) for part in between]
    mended = "".join(
        part + (texts[place] if place < len(texts) else "") for place, part in enumerate(between)
    )
    for _ in range(_MENDS):
        try:
            compile_filter(mended)
        except BadInput as error:
            at = error.column or 0
            word = _WORD.match(mended, at)
            near = nearest(word[0]) if word else None
            if word is None or near is None or near == word[0]:
                return ""
            mended = mended[:at] + near + mended[word.end() :]
        else:
            return mended if mended != where else ""
    return ""


def _to_minute(rfc3339: str) -> str:
    return f"{rfc3339[:16]}Z"


def short_id(run_id: str) -> Own:
    """Return a run's short ID: the 16 hex digits of its span ID."""
    return Own(run_id[-SHORT_CHARS:])


def write_scores(run: RunSummary) -> list[str]:
    """Return the newest score of each judge of a run as text, such as ``exact 0.5 fail``."""
    items = []
    for judge in dict.fromkeys((*run.scores, *run.passed, *run.failed_judges)):
        words = [judge]
        if judge in run.scores:
            words.append(str(number(run.scores[judge])))
        if judge in run.passed:
            words.append("pass" if run.passed[judge] else "fail")
        if judge in run.failed_judges:
            words.append("broke")
        items.append(" ".join(words))
    return items
