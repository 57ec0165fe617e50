"""Asks the collector's JSON API; answers look as those of `requests`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from otel_ml.reader.api import Api, Question

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
    """The JSON API of one collector, asked as `otel_ml.reader` asks it.

    Args:
        url: Its base address; found as spans find theirs when not given.
    """

    def __init__(self, url: str | None = None) -> None:
        self._api = Api(url)

    def get(self, *path: str, **parameters: object) -> Response:
        """Ask for ``/api/v1/<path>``.

        Args:
            path: Its parts, quoted here.
            parameters: Of the query; those that are None are left out.

        Raises:
            ConnectionError: There is no answer.
        """
        reply = self._api.exchange(Question(path, parameters))
        return Response(reply.status, reply.content, reply.headers, reply.url)
