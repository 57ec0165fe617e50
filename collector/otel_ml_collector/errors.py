"""Defines all errors of the collector. Each tells the sender whether to send again.

``except Exception``, `log.going_on` and `log.contained` are only used at these places. Each of them
counts the error, logs it once and answers `Unavailable`. It never answers "unknown", because OTLP
clients drop their data on that.

* `receive`: the edge of a request, including uploads
* `api.problems`: unexpected errors in an API request
* `web.render`: a page, or a part of it, which then shows a note
* `findings.findings`: a source of findings, so that the others are shown
* `overview.home`: the check of a project, so that the others are checked
* `serve.jobs`: the loop of background jobs, which tries again later
* `store.sketches`: a day whose sketches fail, so that other days can continue
* `forward.otlp`: the send loop, which keeps the request
* `cli.doctor`: a check; its error is reported as a finding
* `receive.health`: the probe of the store, which then reports the collector as not ready
* `receive.commit`: the loop of the writer thread, and its listeners for stored records
* `forward.records`: the send loop, which continues later
* `alerts.delivery`: the loop that sends notifications, which continues later
* `judges.job`: a rubric judge, which goes on in a later pass, and a call on a thread
* `assistants.protocol`: the call of a tool, which is then refused
* `exporter`: an export, which fails, and the mapping of a span; the host program is not affected
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

RETRY_AFTER_S: Final = 2
_SUGGESTED: Final = 30  # largest number of names in a suggestion


class CollectorError(Exception):
    """Base class of all errors with which the collector answers a request."""


class Rejected(CollectorError):
    """The request is invalid; sending it again cannot help (400, INVALID_ARGUMENT)."""


class TooLarge(Rejected):
    """The request is over the size limit (413, RESOURCE_EXHAUSTED without a retry delay)."""


class UnknownMediaType(Rejected):
    """The request has an unsupported content type or encoding (415)."""


class WrongMethod(Rejected):
    """The HTTP method is not supported here (405)."""


class BadField(Rejected):
    """A field of the request has an invalid value.

    Args:
        field: Path of the field, such as ``resourceSpans[0].resource``. Empty if the error is about
            the request itself.
        description: What is wrong, and which values are valid.
    """

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}" if field else description)
        self.field = field
        self.description = description


class Unauthenticated(Rejected):
    """The request has no key or an invalid key (401, UNAUTHENTICATED)."""


class NotPermitted(Rejected):
    """The key of the request lacks the required scope (403, PERMISSION_DENIED)."""


class Unavailable(CollectorError):
    """It is not certain that the request was stored; send it again later (503, UNAVAILABLE).

    Args:
        message: What is wrong.
        retry_after_s: Seconds after which to send again.
    """

    def __init__(self, message: str, retry_after_s: float = RETRY_AFTER_S) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OverQuota(Unavailable):
    """The key is over its quota (429, RESOURCE_EXHAUSTED with a retry delay)."""


class StoreTimeout(Unavailable):
    """A query took longer than allowed. A narrower query may succeed."""


class InternalError(Unavailable):
    """A part of the collector has a bug. The log has the traceback; other parts are not affected.

    Args:
        part: What failed, such as `slices`.
        kind: The type of the unexpected error.
    """

    def __init__(self, part: str, kind: str) -> None:
        super().__init__(
            f"An internal error ({kind}) in {part}. The collector's log has the details"
        )


class BadInput(CollectorError):
    """A query has an invalid parameter (400).

    Args:
        message: What is wrong, with the value, and what would be right.
        field: Name of the parameter.
        column: Position in the text of the parameter, from 0; None if unknown.
    """

    def __init__(self, message: str, field: str, column: int | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.column = column


class Outdated(CollectorError):
    """A precondition failed: the state that the request is based on has changed (412)."""


class Conflict(CollectorError):
    """The state that the request would replace has changed (409)."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown name: the nearest known name, or the list of known names."""
    names = sorted({*known})
    near = get_close_matches(name, names, n=1)
    if near:
        return f"did you mean {near[0]}?"
    more = " …" if len(names) > _SUGGESTED else ""
    return f"expected one of {', '.join(names[:_SUGGESTED])}{more}" if names else "there is none"


class Missing(CollectorError):
    """There is no such record (404)."""


class MissingProject(Missing):
    """There is no such project, or no such path in a project (404).

    Attributes:
        parent: The project in which the path does not exist; empty if there is no such project.
    """

    def __init__(self, message: str, parent: str = "") -> None:
        super().__init__(message)
        self.parent = parent


class BadSetting(CollectorError):
    """The program cannot start with its settings. The message is one line for the user."""


class StoreUnreachable(BadSetting):
    """The store does not answer. It may come back, so the collector waits for it."""


class InUse(BadSetting):
    """Another process uses the data directory.

    Args:
        message: Names the directory and the process.
        address: Address of that process; empty if unknown.
    """

    def __init__(self, message: str, address: str = "") -> None:
        super().__init__(message)
        self.address = address
