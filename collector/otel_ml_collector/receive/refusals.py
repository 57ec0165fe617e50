"""Logs refused requests: at most one line a minute per sender, for a bounded number of senders."""

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request

from otel_ml import attributes as names
from otel_ml_collector.access import Access, find_access_of

SENDERS: Final = 256
QUIET_S: Final = 60.0
_OTHERS: Final = "(others)"
_SHOWN_CHARS: Final = 300
# Reasons that are counted per sender, and those that are logged, most frequent first.
_REASONS: Final = 10
_SHOWN_REASONS: Final = 3

# The documentation tells operators to look for this logger name.
_logger = logging.getLogger("otel_ml_collector.refusals")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was refused, fully or in part, and its sender.

    Attributes:
        transport: ``http`` or ``grpc``.
        peer: Address of the sender, with or without a port.
        reason: Why it was refused, in English.
        answer: Outcome label of the request in the metrics, such as ``refused``, ``unavailable`` or
            ``partial``.
        key_id: Public part of the sender's key; empty if there is no key.
        project: Project from the request header; empty if there is none.
        rejected: Number of refused records if the others were stored; else 0.
        service: ``service.name`` of the sender; empty if unknown.
    """

    transport: str
    peer: str
    reason: str
    answer: str
    key_id: str = ""
    project: str = ""
    rejected: int = 0
    service: str = ""


@dataclass(slots=True)
class _Muted:
    quiet_until_s: float
    suppressed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


class Refusals:
    """Logs refused requests: the first of a sender at once, then their numbers once a minute.

    A sender is an address and a key. Senders beyond the first `SENDERS` in a minute count as one.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        # Ordered by the end of the minute in which the sender's refusals are only counted.
        self._senders: OrderedDict[tuple[str, str], _Muted] = OrderedDict()

    def note(self, refusal: Refusal) -> None:
        """Log a refusal, or count it. Safe to call from any thread."""
        with self._lock:
            now_s = self._now_s()
            self._end_minutes(now_s)
            name = (_host(refusal.peer), refusal.key_id)
            if name not in self._senders and len(self._senders) >= SENDERS:
                name = (_OTHERS, "")
            sender = self._senders.get(name)
            if sender is not None:
                sender.suppressed += 1
                reason = refusal.reason[:_SHOWN_CHARS]
                if reason in sender.reasons or len(sender.reasons) < _REASONS:
                    sender.reasons[reason] += 1
                return
            self._senders[name] = _Muted(now_s + QUIET_S)
        _log(refusal)

    def close(self) -> None:
        """Log the counts that are not logged yet."""
        with self._lock:
            self._end_minutes(float("inf"))

    def _end_minutes(self, now_s: float) -> None:
        while self._senders:
            name, sender = next(iter(self._senders.items()))
            if sender.quiet_until_s > now_s:
                return
            del self._senders[name]
            if sender.suppressed:
                _log_number(*name, sender)


REFUSALS: Final = Refusals()
"""The log of refusals of this process."""


def _log(refusal: Refusal) -> None:
    fields = {
        "transport": refusal.transport,
        "peer": refusal.peer,
        "key_id": refusal.key_id,
        "project": refusal.project[:_SHOWN_CHARS],
        "service": refusal.service[:_SHOWN_CHARS],
        "answer": refusal.answer,
        "reason": refusal.reason[:_SHOWN_CHARS],
        "rejected": refusal.rejected,
    }
    text = " ".join(f"{name}={_shown(value)}" for name, value in fields.items() if value)
    if refusal.answer != "partial":
        what = "A request was refused"
    elif refusal.rejected:
        what = "Part of a request was rejected"
    else:
        what = "A request was stored with changes"
    _logger.warning("%s: %s", what, text, extra=fields)


def _log_number(peer: str, key_id: str, muted: _Muted) -> None:
    most = muted.reasons.most_common(_SHOWN_REASONS)
    _logger.warning(
        "%d more requests from %s were refused or rejected in part within %g s: %s",
        muted.suppressed,
        f"{peer} with key {key_id}" if key_id else peer,
        QUIET_S,
        ", ".join(f"{number} for {_shown(reason)}" for reason, number in most),
        extra={"peer": peer, "key_id": key_id, "suppressed": muted.suppressed},
    )


def _shown(value: object) -> str:
    """Format a value for a log line; quoted if it contains spaces, quotes or control characters."""
    text = str(value)
    return text if text.isprintable() and " " not in text and '"' not in text else repr(text)


def _host(peer: str) -> str:
    """Return the host of a peer address, without scheme and port.

    Spec: https://github.com/grpc/grpc/blob/master/doc/naming.md
    """
    address = peer.removeprefix("ipv4:").removeprefix("ipv6:")
    if address.startswith(("[", "%5B")):
        return address.replace("%5B", "[").replace("%5D", "]").partition("]")[0].lstrip("[")
    return address.rpartition(":")[0] if address.count(":") == 1 else address


def note_http(
    request: Request, answer: str, reason: object, rejected: int = 0, service: str = ""
) -> None:
    """Log that an HTTP request was refused fully or in part, unless its sender was logged lately.

    Args:
        request: The request.
        answer: Outcome label of the request in the metrics.
        reason: The error, or a text.
        rejected: Number of refused records if the others were stored; else 0.
        service: ``service.name`` of the sender; empty if unknown.
    """
    client = request.client
    note_request(
        "http",
        f"{client.host}:{client.port}" if client else "",
        (find_access_of(request.scope), request.headers),
        answer=answer,
        reason=reason,
        rejected=rejected,
        service=service,
    )


def note_request(
    transport: str,
    peer: str,
    sender: tuple[Access | None, Mapping[str, str]],
    *,
    answer: str,
    reason: object,
    rejected: int = 0,
    service: str = "",
) -> None:
    """Log that a request was refused, fully or in part, unless its sender was logged recently.

    Args:
        transport: ``http`` or ``grpc``.
        peer: Address of the sender.
        sender: A pair: the sender's scopes and projects (None without a valid key), and the headers
            or metadata of the request.
        answer: Outcome label of the request in the metrics.
        reason: The error, or a text.
        rejected: Number of refused records if the others were stored; else 0.
        service: ``service.name`` of the sender; empty if unknown.
    """
    access, headers = sender
    key_id, project = access.key_id if access else "", headers.get(names.PROJECT_HEADER, "")
    REFUSALS.note(Refusal(transport, peer, str(reason), answer, key_id, project, rejected, service))
