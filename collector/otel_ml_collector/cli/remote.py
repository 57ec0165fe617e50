"""Asks a running collector over its JSON API, with the key in ``OTEL_ML_API_KEY``."""

import argparse
import json
import os
from collections.abc import Mapping
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from otel_ml_collector.cli.given import file_of
from otel_ml_collector.config import TABLE, Address, Settings, load
from otel_ml_collector.errors import BadSetting

_TIMEOUT_S: Final = 30
_PLACES: Final = ("data_dir", "store", "http")
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where not to ask


def add_places(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where the collector and its store are."""
    parser.add_argument("--config", metavar="FILE", help="TOML file [otel-ml.toml, if there]")
    for setting in TABLE:
        if setting.name in _PLACES:
            text = f"{setting.help} [{setting.default}]" if setting.default else setting.help
            parser.add_argument(setting.flag, metavar="VALUE", help=text)
    parser.add_argument("--endpoint", metavar="URL", help="collector to ask, instead of --http")


def places_of(flags: argparse.Namespace) -> Settings:
    """Read the settings, of which the flags say the places.

    Raises:
        BadSetting: One of them is wrong.
    """
    given = {setting.name: getattr(flags, setting.name, None) for setting in TABLE}
    return load(given, os.environ, file_of(flags))


def endpoint_of(flags: argparse.Namespace, settings: Settings) -> str:
    """Name the collector to ask: what was said, else the one that listens on this machine."""
    if flags.endpoint:
        return str(flags.endpoint).rstrip("/")
    http = settings.http
    scheme = "https" if settings.tls_cert else "http"
    return f"{scheme}://{Address(_EVERYWHERE.get(http.host, http.host), http.port)}"


def ask(
    endpoint: str, path: str, *, method: str = "GET", body: Mapping[str, Any] | None = None
) -> Any:
    """Send one request to the API and return what is answered.

    Raises:
        BadSetting: There is no collector, or it refuses; the message says why.
    """
    if not endpoint.startswith(("http://", "https://")):
        raise BadSetting(f"Invalid endpoint {endpoint!r}: expected http://HOST:PORT")
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("OTEL_ML_API_KEY", "").strip():
        headers["Authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"{endpoint}/api/v1{path}", data, headers, method=method)  # noqa: S310 - checked above
    try:
        with urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - checked above
            return json.load(answer)
    except HTTPError as error:
        raise BadSetting(_told(endpoint, error)) from error
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise BadSetting(
            f"The collector at {endpoint} does not answer ({reason}): say where it is with "
            "--http HOST:PORT or --endpoint URL"
        ) from error


def _told(endpoint: str, error: HTTPError) -> str:
    """Return the collector's own words for an error."""
    try:
        message = str(json.load(error)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = f"HTTP status {error.code}"
    if error.code == 401:  # noqa: PLR2004 - unauthorized
        message = "it has keys: put one with the scope that is needed into OTEL_ML_API_KEY"
    return f"The collector at {endpoint} refuses: {message}"
