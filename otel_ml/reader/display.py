"""What notebooks show below a cell: lists as tables, and records as the file that can be shared.

Requests have a time limit, and a collector that does not answer is a line of text.
"""

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from otel_ml.loading import start_detached
from otel_ml.notebook import Card, note, write_frame
from otel_ml.reader.api import Api, Question
from otel_ml.reader.errors import ReaderError

QUICK_QUESTION: Final = Question((), is_repeatable=False, timeout_s=3.0)
_FILE_S: Final = 15.0
# The policy of a file, with which it can request nothing.
_POLICY: Final = 'http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;;'
_HEAD_CHARS: Final = 1_000


@dataclass(frozen=True, slots=True)
class FileSource:
    """Where the file of a record is read.

    Attributes:
        api: The collector.
        path: Path segments after ``/projects``.
        parameters: Query parameters.
    """

    api: Api
    path: tuple[str, ...]
    parameters: Mapping[str, object] = field(default_factory=dict)

    def read(self) -> str:
        """Return the file.

        Raises:
            ReaderError: The collector does not answer, or has no such record.
            ValueError: The answer is not a file, but for example the sign-in page of a proxy.
        """
        parameters = {**self.parameters, "link": "true"}
        question = Question(("projects", *self.path, "file"), parameters, timeout_s=_FILE_S)
        file = self.api.download(question).decode()
        if _POLICY not in file[:_HEAD_CHARS]:
            raise ValueError
        return file


def show_file(source: FileSource, card: Card, write_plain: Callable[[], str] = str) -> str:
    """Return HTML that shows a record as the file that can be shared, in a frame.

    Front ends that show no frames show the plain HTML.

    Args:
        source: Where the file is read.
        card: Title of the frame, and start of the plain HTML.
        write_plain: Writes the plain HTML after the card. It may send requests.
    """

    def write() -> str:
        plain = card.html + write_plain()
        try:
            file = source.read()
        except ReaderError as error:
            return plain + note(f"Not shown: {error}")
        return write_frame(file, plain, f"{card.kind} {card.name}")

    return _write_in_time(source.api.page, card.html, write, _FILE_S + QUICK_QUESTION.timeout_s)


def show_record(source: FileSource | None, card: Card) -> str:
    """Return HTML that shows a record as its file, in a frame. Without a source: its card."""
    return card.html if source is None else show_file(source, card)


def html_in_time(card: Card, page: str, write: Callable[[], str]) -> str:
    """Return the HTML that a notebook shows for a list.

    If the collector does not answer within a few seconds, the HTML contains an error message
    instead of the list.

    Args:
        card: Heading of the list.
        page: Base URL of the collector, for the error message.
        write: Function that fetches the list and returns it as HTML.
    """
    limit_s = QUICK_QUESTION.timeout_s * 2
    return _write_in_time(page, card.html, lambda: card.html + write(), limit_s)


def _write_in_time(page: str, head: str, write: Callable[[], str], limit_s: float) -> str:
    """Call a function that sends requests. If it fails or takes too long, `head` and a reason."""

    def attempt() -> str:
        try:
            return write()
        except ReaderError as error:
            return head + note(f"Not shown: {error}")
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
            return head + note(f"Not shown: {page} does not answer like an otel-ml collector")

    answers: queue.SimpleQueue[str] = queue.SimpleQueue()
    # On its own thread: DNS lookup has no time limit.
    name = "otel-ml-reader"
    start_detached(threading.Thread(target=lambda: answers.put(attempt()), name=name, daemon=True))
    try:
        return answers.get(timeout=limit_s)
    except queue.Empty:
        return head + note(f"Not shown: no answer from {page} in time")
