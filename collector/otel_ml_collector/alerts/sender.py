"""Posts messages to receivers of alerts, by the rules of `otel_ml_collector.outgoing`."""

import http.client
from http import HTTPStatus
from typing import Final

from otel_ml_collector.alerts.messages import AlertRequest
from otel_ml_collector.outgoing import AddressRefused, OutgoingPeer, post_to
from otel_ml_collector.settings.alert_targets import AlertTarget

_ANSWER_BYTES: Final = 4_096
_REASON_CHARS: Final = 200
# A second attempt with the same message cannot succeed.
_REFUSALS: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)


class Undelivered(Exception):
    """A receiver did not accept a message.

    Args:
        message: What is wrong. Secrets of the receiver's settings, such as a token, are removed.
        is_final: Whether it is pointless to send the same message again.
        retry_after_s: Seconds after which to try again, as the receiver asks. None if it does not
            ask for a time.
    """

    def __init__(
        self, message: str, *, is_final: bool = False, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.is_final = is_final
        self.retry_after_s = retry_after_s


def post(target: AlertTarget, request: AlertRequest) -> None:
    """Post a message to a receiver. When the call returns, the receiver has accepted the message.

    Args:
        target: The receiver.
        request: The message.

    Raises:
        Undelivered: The receiver refused the message or did not answer. In the second case, the
            message may have arrived. The text of the error contains no secrets of the receiver.
    """
    peer = OutgoingPeer(
        target.host,
        target.port,
        target.parts.netloc,
        target.is_secure,
        target.tls_ca,
        target.timeout_s,
        target.allow_private,
    )
    headers = {**dict(target.headers), **request.headers}
    try:
        answer = post_to(peer, target.path, request.body, headers, limit_bytes=_ANSWER_BYTES)
    except AddressRefused as error:
        raise Undelivered(str(error)) from None
    except (OSError, http.client.HTTPException, ValueError, UnicodeError) as error:
        reason = target.hide_secrets(_shorten(str(error)))
        raise Undelivered(f"{type(error).__name__}: {reason}".rstrip(": ")) from None
    status = answer.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return
    text = answer.body.decode("utf-8", "replace")
    shown = target.hide_secrets(_shorten(f"{status} {answer.reason} {text}"))
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise Undelivered(f"{status}: a redirect, which is not followed")
    raise Undelivered(shown, is_final=status in _REFUSALS, retry_after_s=answer.rest_s)


def _shorten(text: str) -> str:
    """Shorten a response to one line of printable characters."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())[:_REASON_CHARS]
