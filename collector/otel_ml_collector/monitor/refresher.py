"""A background job that keeps the cached content of page Monitor fresh for large projects.

For a large project, the page first shows cached content that is at most half an hour old, and then
loads new content. Without this job, the first visitor after a longer time would have to wait. So
the job refreshes the content before it is too old: for pages that were opened in the last three
days, and always for the last 24 hours of large projects. The work is bounded: at most six pages,
one SQL statement at a time, at most 1 % of all time, and none while requests use the whole process.
Which pages were opened is only known in this process.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from otel_ml_collector.background import BackgroundJob
from otel_ml_collector.findings.find import find_large_projects, renew_monitor
from otel_ml_collector.stats import Past
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS

_OPENED_WITHIN_NS: Final = 3 * DAY_NS
# Age at which cached content is refreshed. Well below the 30 minutes for which it is kept, because
# other pages may be refreshed first.
_DUE_NS: Final = 20 * MINUTE_NS
# Maximum number of pages, each a project and a time range: those that were opened last.
_MOST_PAGES: Final = 6
_LARGE_EVERY_NS: Final = 6 * HOUR_NS
# After a page, the job pauses for 100 times as long as the page took.
_REST: Final = 100

_Page = tuple[str, Past]


class MonitorRefresher:
    """Refreshes the cached content of the page Monitor in the background.

    The page can show cached content for half an hour. This job computes it again earlier, so users
    rarely have to wait.

    Args:
        reader: A reader that may read all projects. Users still see only projects that they may
            read.
        is_busy: Returns whether the collector is fully loaded with requests. If so, nothing is
            refreshed.
        clock: Returns a time in seconds that never decreases.
    """

    def __init__(
        self,
        reader: Reader,
        is_busy: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._is_busy = is_busy
        self._clock = clock
        self._rests_until_s = -float("inf")
        self._listed_ns = -_LARGE_EVERY_NS
        # For each page, when it was last opened and when its content was computed. The page that
        # was opened last is at the end.
        self._pages: OrderedDict[_Page, tuple[int, int]] = OrderedDict()
        self._guard = threading.Lock()

    def note(self, project: str, last: Past, opened_ns: int, made_ns: int) -> None:
        """Note that a user opened a page, and when the content that it shows was computed."""
        with self._guard:
            self._pages[project, last] = opened_ns, made_ns
            self._pages.move_to_end((project, last))
            if len(self._pages) > _MOST_PAGES:
                self._pages.popitem(last=False)

    def list_jobs(self) -> Sequence[BackgroundJob]:
        """List the job that prefetches the pages of one project after another."""
        return [
            BackgroundJob(
                lambda: self.run_pass(time.time_ns()),
                30.0,
                "Pages of Monitor could not be prefetched",
                first_s=30.0,
            )
        ]

    def run_pass(self, now_ns: int) -> None:
        """Refresh the page whose cached content is the oldest, if it is old enough.

        Raises:
            Unavailable: The store does not answer. The page is refreshed when it is due again.
        """
        if self._clock() < self._rests_until_s or self._is_busy():
            return
        if now_ns - self._listed_ns >= _LARGE_EVERY_NS:
            self._note_large(now_ns)
        with self._guard:
            for key, (opened_ns, _) in [*self._pages.items()]:
                if opened_ns < now_ns - _OPENED_WITHIN_NS:
                    del self._pages[key]
            page = min(self._pages, key=lambda key: self._pages[key][1], default=None)
            if page is None or self._pages[page][1] > now_ns - _DUE_NS:
                return
            self._pages[page] = self._pages[page][0], now_ns
        began_s = self._clock()
        try:
            with self._reader.in_turn():
                state = renew_monitor(self._reader, *page, now_ns)
        finally:
            now_s = self._clock()
            self._rests_until_s = now_s + _REST * (now_s - began_s)
        if state is None:
            with self._guard:
                self._pages.pop(page, None)

    def _note_large(self, now_ns: int) -> None:
        """Note the pages of large projects, if the opened pages leave room for them."""
        large = find_large_projects(self._reader, now_ns, _MOST_PAGES)
        self._listed_ns = now_ns
        with self._guard:
            for project in large:
                page: _Page = (project, "24h")
                if page in self._pages:
                    self._pages[page] = now_ns, self._pages[page][1]
                elif len(self._pages) < _MOST_PAGES:
                    self._pages[page] = now_ns, now_ns - _DUE_NS
                    self._pages.move_to_end(page, last=False)
