"""The watch over pages Monitor that were opened lately: of many runs each has an answer to show.

A page of many runs shows the last answer of half an hour at once, and asks for its successor. Who
opens it after a longer time would wait for the store; so the answers of the pages that somebody
opened in the last three days are worked out again before they are too old, and those of the last
day of large projects whether opened or not. That is bounded: six pages, in turn, statements in
turn, at most a hundredth of all time, and nothing while requests take all that the process can do.
Which pages were opened is known to this process alone.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from otel_ml_collector.monitor.find import find_large_projects, renew_monitor
from otel_ml_collector.stats import Past
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS

_OPENED_WITHIN_NS: Final = 3 * DAY_NS
# Well before the half hour is over: others may be in turn first.
_DUE_NS: Final = 20 * MINUTE_NS
# The pages opened last, each of a project and a length of time.
_MOST_PAGES: Final = 6
_LARGE_EVERY_NS: Final = 6 * HOUR_NS
# After a page so many times as long as it took is left to others.
_REST: Final = 100

_Page = tuple[str, Past]


class MonitorWatch:
    """Works out again what pages Monitor show, before the last answer of many runs is too old.

    Args:
        reader: The store; an answer is shown to those alone who may read its project.
        is_busy: Tells whether requests take all that the process can do.
        clock: Tells seconds that never fall.
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
        # When each page was opened last, the newest last, and when its answer was made.
        self._pages: OrderedDict[_Page, tuple[int, int]] = OrderedDict()
        self._guard = threading.Lock()

    def note(self, project: str, last: Past, opened_ns: int, made_ns: int) -> None:
        """Note that somebody opened a page, and when the answer was made that it shows."""
        with self._guard:
            self._pages[project, last] = opened_ns, made_ns
            self._pages.move_to_end((project, last))
            if len(self._pages) > _MOST_PAGES:
                self._pages.popitem(last=False)

    def run_pass(self, now_ns: int) -> None:
        """Work out again the oldest answer of these pages, if it is due.

        Raises:
            Unavailable: The store has trouble; the page is tried again when it is due once more.
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
        """Note the pages of large projects, as far as those that were opened leave room."""
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
