"""Asks the collector's JSON API; answers look as those of `requests`."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from otel_ml.export.settings import resolve

if TYPE_CHECKING:
    from urllib3 import PoolManager

_TIMEOUT_S: Final = 30.0
_ERROR: Final = 400


class RequestFailed(RuntimeError):
    """The collector answered with an error."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, with the names that `requests` has for its parts.

    Attributes:
        status_code: Of HTTP.
        content: The body.
        headers: Of the answer.
        url: What was asked.
    """

    status_code: int
    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    url: str = ""

    @property
    def ok(self) -> bool:
        """Whether it is no error."""
        return self.status_code < _ERROR

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """Read the body.

        Raises:
            ValueError: It is no JSON.
        """
        return json.loads(self.content)

    def raise_for_status(self) -> None:
        """Raise when it is an error.

        Raises:
            RequestFailed: It is one.
        """
        if not self.ok:
            raise RequestFailed(f"{self.status_code} of {self.url}: {self.text[:1_000]}")


class Collector:
    """The JSON API of one collector.

    Args:
        url: Its base address; found as spans find theirs when not given.
        api_key: Sent as a bearer token; ``OTEL_ML_API_KEY`` when not given.
    """

    def __init__(self, url: str | None = None, api_key: str | None = None) -> None:
        self._settings = resolve(url, "", api_key or os.environ.get("OTEL_ML_API_KEY"))

    def get(self, *path: str, **parameters: object) -> Response:
        """Ask for ``/api/v1/<path>``.

        Args:
            path: Its parts, quoted here.
            parameters: Of the query; those that are None are left out.

        Raises:
            ConnectionError: There is no answer.
        """
        from urllib3.exceptions import HTTPError

        known = {name: value for name, value in parameters.items() if value is not None}
        query = f"?{urlencode(known)}" if known else ""
        below = "/".join(quote(part, safe="") for part in path)
        url = f"{self._settings.page}/api/v1/{below}{query}"
        try:
            answer = self._pools.request(
                "GET", url, headers=self._settings.headers, timeout=_TIMEOUT_S, retries=False
            )
        except HTTPError as error:
            raise ConnectionError(
                f"No answer from {self._settings.page}: expected an otel-ml collector there"
            ) from error
        return Response(answer.status, answer.data, dict(answer.headers), url)

    @cached_property
    def _pools(self) -> "PoolManager":
        import urllib3  # takes 40 ms, which who only records need not pay

        settings = self._settings
        return urllib3.PoolManager(
            ca_certs=settings.ca_file,
            cert_file=settings.client_cert_file,
            key_file=settings.client_key_file,
        )
