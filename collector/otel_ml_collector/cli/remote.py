"""Where the collector and its store are, and how a running one is asked over its JSON API.

The key is in ``OTEL_ML_API_KEY``.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from otel_ml_collector.cli.given import add_settings, file_of, settings_of
from otel_ml_collector.config import Address, Settings, load

_PLACES: Final = ("data_dir", "store", "http")
_EMBEDDED: Final = "chdb://"
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where not to ask


def add_places(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where the collector and its store are."""
    add_settings(parser, _PLACES)
    parser.add_argument("--endpoint", metavar="URL", help="collector to ask, instead of --http")


def places_of(flags: argparse.Namespace) -> Settings:
    """Read the settings, of which the flags say the places.

    Raises:
        BadSetting: One of them is wrong.
    """
    return load(settings_of(flags), os.environ, file_of(flags))


def data_dir_of(settings: Settings) -> Path | None:
    """Name the data directory of the embedded store; None when the store is a server."""
    if not settings.store.startswith(_EMBEDDED):
        return None
    return Path(unquote(settings.store.removeprefix(_EMBEDDED)))


def endpoint_of(flags: argparse.Namespace, settings: Settings) -> str:
    """Name the collector to ask: what was said, else the one that listens on this machine."""
    if flags.endpoint:
        return str(flags.endpoint).rstrip("/")
    http = settings.http
    scheme = "https" if settings.tls_cert else "http"
    return f"{scheme}://{Address(_EVERYWHERE.get(http.host, http.host), http.port)}"


def ask(
    endpoint: str,
    path: Sequence[str],
    *,
    method: str = "GET",
    body: object = None,
    timeout_s: float = 30.0,
) -> dict[str, Any]:
    """Send one request to the API and return what is answered in that time.

    Raises:
        CommandFailed: There is no collector, or it refuses; the message says why.
    """
    from otel_ml.reader.api import Api, Question  # takes 0.1 s
    from otel_ml_collector.cli.asking import asking

    with asking():
        question = Question(tuple(path), method=method, body=body, is_repeatable=body is None)
        answer: dict[str, Any] = Api(endpoint, timeout_s=timeout_s).ask(question)
        return answer
