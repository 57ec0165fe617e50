"""What a user last saw on the overview of a project, in a cookie of their browser."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from zoneinfo import ZoneInfo

from otel_ml_collector.problems.problems import FoundProblems, ProjectProblem
from otel_ml_collector.times import DAY_NS, MINUTE_NS, SECOND_NS
from otel_ml_collector.windows import write_local

SEEN: Final = "otel-ml-seen"
SEEN_S: Final = 60 * 24 * 3600
# Pages opened within this time belong to one visit.
_VISIT_NS: Final = 30 * MINUTE_NS
_MOST_SEEN: Final = 12
_TITLE_CHARS: Final = 60
_COOKIE_CHARS: Final = 3_600


@dataclass(frozen=True, slots=True)
class PageVisit:
    """The problems that a page showed.

    Attributes:
        time_s: Time of the visit, in seconds since 1970.
        titles: The title of each problem, by its key.
    """

    time_s: int = 0
    titles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SeenProblems:
    """The problems that a user saw in their last two visits, to show which problems are new.

    Pages that are opened less than 30 minutes after each other belong to one visit. During a visit,
    problems are new if the user did not see them in the previous visit.

    Attributes:
        before: The visit before `last`.
        last: The newest visit. The user may still be in it.
    """

    before: PageVisit
    last: PageVisit

    def _compared(self, now_ns: int) -> PageVisit:
        is_same_visit = now_ns - self.last.time_s * SECOND_NS < _VISIT_NS
        return self.before if is_same_visit and self.before.time_s else self.last

    def list_new(self, found: FoundProblems, now_ns: int) -> set[str]:
        """Return the keys of the problems that are new since the last visit.

        On the first visit, these are the problems that began in the last 24 hours.
        """
        known = self._compared(now_ns)
        if known.time_s:
            return {problem.key for problem in found.problems if problem.key not in known.titles}
        return {
            problem.key
            for problem in found.problems
            if _since_ns(problem) is not None and now_ns - (_since_ns(problem) or 0) < DAY_NS
        }

    def write_since(self, found: FoundProblems, now_ns: int, zone: ZoneInfo) -> str:
        """Write what changed since the visit before, after a space; empty on the first visit."""
        known = self._compared(now_ns)
        if not known.time_s:
            return ""
        new = len(self.list_new(found, now_ns))
        gone = [
            title
            for key, title in known.titles.items()
            if key not in {problem.key for problem in found.every}
        ]
        when = f"your last visit ({write_local(known.time_s * SECOND_NS, zone)[:16]})"
        parts = [f"{_count_problems(new)} new"] if new else []
        if gone:
            parts.append(f"{_count_problems(len(gone))} resolved ({gone[0]})")
        if not parts:
            return f" Nothing has changed since {when}."
        return f" Since {when}, {' and '.join(parts)}."

    def add(self, found: FoundProblems, now_ns: int) -> str:
        """Return the cookie after a visit now."""
        shown = PageVisit(
            now_ns // SECOND_NS,
            {
                problem.key: problem.first.title[:_TITLE_CHARS]
                for problem in found.problems[:_MOST_SEEN]
            },
        )
        known = self._compared(now_ns)
        values = [[visit.time_s, dict(visit.titles)] for visit in (known, shown)]
        written = base64.urlsafe_b64encode(json.dumps(values).encode()).decode()
        return written if len(written) <= _COOKIE_CHARS else ""


def _count_problems(count: int) -> str:
    return "1 problem is" if count == 1 else f"{count} problems are"


def _since_ns(problem: ProjectProblem) -> int | None:
    return problem.first.since_ns


def read_seen(cookie: str) -> SeenProblems:
    """Read the cookie. An invalid cookie counts as none."""
    try:
        before, last = (
            _read_visit(value) for value in json.loads(base64.urlsafe_b64decode(cookie or "W10="))
        )
    except (ValueError, TypeError, KeyError):
        return SeenProblems(PageVisit(), PageVisit())
    return SeenProblems(before, last)


def _read_visit(value: Any) -> PageVisit:
    time_s, titles = value
    return PageVisit(int(time_s), {str(key): str(title) for key, title in dict(titles).items()})
