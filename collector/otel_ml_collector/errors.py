"""Every error of the collector: the sender either must not send again, or should.

``except Exception``, or `log.going_on`, stands only at these borders, where it counts, logs once
and answers `Unavailable`, never "unknown", on which an OTLP client drops its data:

* `receive`: the edge of a request, also of an upload;
* `api.problems`: unforeseen errors of a question, as an answer;
* `serve.app`: the loop of recurring duties, which tries it again later;
* `store.sketches`: a day whose sketches fail, which keeps no other day waiting;
* `forward.otlp`: the loop that sends, which keeps the request;
* `cli.doctor`: a check, which then is the doctor's finding;
* `receive.health`: the probe of the store, which answers that the collector is not ready;
* `receive.commit`: the loop of the writer thread, and its listeners for stored records;
* `forward.records`: the loop that sends records on, which goes on later;
* `alerts.delivery`: the loop that sends notifications, which goes on later;
* `assistants.protocol`: the call of a tool, which then is refused;
* `exporter`: an export, which fails, and the mapping of a span; the host is never disturbed.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

RETRY_AFTER_S: Final = 2
_SUGGESTED: Final = 30  # names


class CollectorError(Exception):
    """Anything that the collector answers a request with, other than success."""


class Rejected(CollectorError):
    """The request is wrong for good: sending it again cannot help (400, INVALID_ARGUMENT)."""


class TooLarge(Rejected):
    """The request is over the size limit (413, RESOURCE_EXHAUSTED without a delay)."""


class UnknownMediaType(Rejected):
    """The request is in a form that is not read here (415)."""


class WrongMethod(Rejected):
    """The request is of a method that means nothing here (405)."""


class BadField(Rejected):
    """The request has a value that is wrong, at a known place.

    Args:
        field: The place, as a path.
        description: What is wrong there, and what would be right.
    """

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}" if field else description)
        self.field = field
        self.description = description


class Unauthenticated(Rejected):
    """The request has no key, or an invalid key (401, UNAUTHENTICATED)."""


class NotPermitted(Rejected):
    """The request's key has not the scope that is needed (403, PERMISSION_DENIED)."""


class Unavailable(CollectorError):
    """Not known to be stored: send again after a while (503, UNAVAILABLE).

    Args:
        message: What is wrong.
        retry_after_s: When to send again.
    """

    def __init__(self, message: str, retry_after_s: float = RETRY_AFTER_S) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OverQuota(Unavailable):
    """The key has sent more than it may (429, RESOURCE_EXHAUSTED with a delay)."""


class StoreTimeout(Unavailable):
    """The store took longer than a question may take; a narrower question may be answered."""


class BadInput(CollectorError):
    """A question to the store that makes no sense (400), with the field that is wrong.

    Args:
        message: What is wrong, with the value, and what would be right.
        field: The parameter's name.
        column: Where in the parameter's text, counted from 0, when that is known.
    """

    def __init__(self, message: str, field: str, column: int | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.column = column


class Outdated(CollectorError):
    """The state that the request starts from is not the newest any more (412)."""


class Conflict(CollectorError):
    """The state that the request would replace is not the newest any more (409)."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Name the known name nearest to an unknown name; without any, list known names."""
    names = sorted({*known})
    near = get_close_matches(name, names, n=1)
    if near:
        return f"did you mean {near[0]}?"
    more = " …" if len(names) > _SUGGESTED else ""
    return f"expected one of {', '.join(names[:_SUGGESTED])}{more}" if names else "there is none"


class Missing(CollectorError):
    """There is no such record (404)."""


class BadSetting(CollectorError):
    """The program cannot start with its settings; the message is a line for its user."""


class InUse(BadSetting):
    """Another process holds the data directory.

    Args:
        message: Names the directory and the process.
        address: Where it answers; empty when it does not say.
    """

    def __init__(self, message: str, address: str = "") -> None:
        super().__init__(message)
        self.address = address
