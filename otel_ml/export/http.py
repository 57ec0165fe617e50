"""One OTLP request over HTTP, and what its answer means.

Spec: https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

import gzip
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from otel_ml.export.answer import Answer
from otel_ml.export.attempt import Attempt, attempt_until
from otel_ml.export.connection import Line, Unusable, open_line
from otel_ml.export.failure import describe, find_root, is_hang_up
from otel_ml.export.response import read_answer
from otel_ml.export.settings import Settings

# Level 6, the usual, takes several times as long and leaves somewhat less. The processor is the
# host's, so the network pays.
_GZIP_LEVEL: Final = 1

# A child that is forked while another thread imports a module waits for ever when it imports it
# too: a fork waits for our first import instead, some 50 ms, once.
_OPENING: Final = threading.RLock()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(
        before=_OPENING.acquire,
        after_in_parent=_OPENING.release,
        after_in_child=_OPENING.release,
    )


# A document is sent as it is: its hash is that of the body.
_JSON: Final = {"content-type": "application/json", "content-encoding": "identity"}


class _Request(NamedTuple):
    method: str
    url: str
    body: bytes
    headers: Mapping[str, str]


class HttpSender:
    """Sends request bodies to one address over kept-alive connections; never tries again later.

    Safe to use from several threads.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._line: Line | None = None
        self._latest: Attempt | None = None

    @property
    def is_out_of_reach(self) -> bool:
        """Whether the latest request is still connecting, or ended without an answer."""
        return self._latest is not None and self._latest.is_out_of_reach

    def send(self, body: bytes, timeout_s: float) -> Answer:
        """Send one request.

        Args:
            body: An encoded ``ExportTraceServiceRequest``.
            timeout_s: How long all of it may take, but for the look-up of the host's name, which
                the operating system bounds.

        Returns:
            What became of it. Sending again is worth it (``retry``) when no answer came, which
            includes a certificate that was not accepted, and on 429, 502, 503 and 504.
        """
        url = self._settings.url
        return self._exchange("POST", url, self._compress(body), {}, timeout_s)

    def put(self, url: str, document: bytes, timeout_s: float) -> Answer:
        """Store a JSON document at another address of the same receiver; otherwise as `send`."""
        return self._exchange("PUT", url, document, _JSON, timeout_s)

    def open(self) -> None:
        """Load what sending needs, while the host still runs; opens no connection.

        At the end of a process an import may run code that makes the interpreter forget that it
        ends by KeyboardInterrupt, and its exit status with it.
        """
        with suppress(Unusable):  # each send says so
            self._open()

    def close(self) -> None:
        """Close the connections; a later send opens them again, a second call does nothing."""
        line, self._line = self._line, None
        if line is not None:
            line.pool.close()

    def after_fork(self) -> None:
        """Forget, in a forked child, the connections of the parent, which stay open for it."""
        self.close()  # closes the child's copies alone, and takes no lock: see connection.py

    def _exchange(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> Answer:
        request = _Request(method, url, body, headers)
        with attempt_until(time.monotonic() + timeout_s) as attempt:
            self._latest = attempt
            try:
                line = self._line or self._open()
                return _send(line, self._settings, request, attempt)
            except Unusable as error:
                return Answer(delivered=False, message=str(error))

    def _open(self) -> Line:
        with _OPENING:
            if self._line is None:
                self._line = open_line(self._settings)
            return self._line

    def _compress(self, body: bytes) -> bytes:
        if self._settings.compression == "none":
            return body
        return gzip.compress(body, _GZIP_LEVEL, mtime=0)


def _send(line: Line, settings: Settings, request: _Request, attempt: Attempt) -> Answer:
    from http.client import HTTPException

    from urllib3.exceptions import HTTPError

    # A receiver may close a kept connection just when we use it: that is no failure, and the
    # second try opens a new one, which is put on top where the closed one was.
    for _ in range(2):
        try:
            response = line.pools.urlopen(
                request.method,
                request.url,
                body=request.body,
                headers={**line.headers, **request.headers},
                timeout=attempt.time_left(),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except (OSError, HTTPException, HTTPError) as error:
            attempt.abandon()
            answer = Answer(delivered=False, retry=True, message=describe(find_root(error)))
            if attempt.connected or not is_hang_up(find_root(error)):
                break
        else:
            return read_answer(response, settings.headers)
    attempt.is_out_of_reach = True
    return answer
