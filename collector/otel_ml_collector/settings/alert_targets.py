"""The setting ``alert_targets``: receivers of alerts (Alertmanager, Slack, webhook)."""

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast, get_args

from otel_ml_collector.settings.values import (
    RequestAddress,
    read_flag,
    read_path,
    read_request_url,
    read_table,
    read_whole,
    readers_of,
)

AlertTargetKind = Literal["alertmanager", "slack", "webhook"]

_MOST_ALERT_TARGETS: Final = 8
_MOST_ALERT_HEADERS: Final = 32
_HEADER_NAME: Final = re.compile(r"[a-z0-9!#$&'*+.^_`|~-]{1,128}")
_HEADER_TEXT: Final = re.compile(r"[ -~]{0,4096}")
# Headers that the collector sets itself.
_SET_HEADERS: Final = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "host", "te"}
    | {"transfer-encoding", "user-agent", "webhook-id", "webhook-signature", "webhook-timestamp"}
)
# A shorter secret can be guessed.
# Spec: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
_LEAST_SECRET_BYTES: Final = 16
_BASE64_SECRET: Final = "whsec_"  # noqa: S105 - a prefix, not a secret


def _read_kind(value: object) -> AlertTargetKind:
    kinds = get_args(AlertTargetKind)
    if value not in kinds:
        raise ValueError(f"expected one of {', '.join(kinds)}")
    return cast(AlertTargetKind, value)


def _read_secret(value: object) -> bytes:
    wrong = ValueError(
        f"expected a text of at least {_LEAST_SECRET_BYTES} bytes, or whsec_ and base64 of them"
    )
    if not isinstance(value, str):
        raise wrong
    secret = value.encode()
    if value.startswith(_BASE64_SECRET):
        try:
            secret = base64.b64decode(value.removeprefix(_BASE64_SECRET), validate=True)
        except binascii.Error:
            raise wrong from None
    if len(secret) < _LEAST_SECRET_BYTES:
        raise wrong
    return secret


def _read_target_headers(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict) or len(value) > _MOST_ALERT_HEADERS:
        raise ValueError(f"expected a table of at most {_MOST_ALERT_HEADERS} names and texts")
    headers = []
    for name, text in value.items():
        lower = name.lower()
        if not _HEADER_NAME.fullmatch(lower) or lower in _SET_HEADERS:
            raise ValueError(f"{name!r} is not a header name that you can set")
        if not isinstance(text, str) or not _HEADER_TEXT.fullmatch(text):
            raise ValueError(f"expected printable ASCII text for {name!r}")
        headers.append((lower, text))
    return tuple(headers)


@dataclass(frozen=True, slots=True)
class AlertTarget(RequestAddress):
    """A receiver of alerts. Each attribute except ``name`` is a key of its table in the settings.

    Attributes:
        name: Name that alert rules use in ``notify``.
        kind: ``alertmanager``, ``slack`` or ``webhook``.
        url: For an Alertmanager the base address, to which ``/api/v2/alerts`` is appended. For
            Slack the address of the incoming webhook, which is a secret.
        secret: Key that signs requests to a webhook. None sends no signature.
        headers: Names and values of additional request headers.
        allow_private: Whether the receiver may have a private, loopback or link-local address.
        timeout_s: Seconds for one attempt, from connecting to the whole answer.
        tls_ca: File of certificates (PEM) to trust instead of the system's.
    """

    name: str
    kind: Annotated[AlertTargetKind, _read_kind]
    url: Annotated[str, read_request_url] = field(repr=False)
    secret: Annotated[bytes | None, _read_secret] = field(default=None, repr=False)
    headers: Annotated[tuple[tuple[str, str], ...], _read_target_headers] = field(
        default=(), repr=False
    )
    allow_private: Annotated[bool, read_flag] = False
    timeout_s: Annotated[int, read_whole("seconds", 1, 60)] = 10
    tls_ca: Annotated[Path | None, read_path] = None

    @property
    def path(self) -> str:
        """Return path and query of the request."""
        parts = self.parts
        path = parts.path or "/"
        if self.kind == "alertmanager":
            path = f"{path.rstrip('/')}/api/v2/alerts"
        return f"{path}?{parts.query}" if parts.query else path

    def hide_secrets(self, text: str) -> str:
        """Return the text with path, query and header values replaced by ``***``.

        The path of an Alertmanager is kept, because it is not a secret.
        """
        own_path = self.parts.path.strip("/")
        secrets = [own_path if self.kind != "alertmanager" else "", self.parts.query]
        secrets += [value for _, value in self.headers]
        secrets += [value.split(" ", 1)[-1] for _, value in self.headers]
        for secret in sorted(filter(None, secrets), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


# For each key of the JSON table, the function that parses its value.
_ALERT_TARGET_KEYS: Final = readers_of(AlertTarget)
_SHOWN_KEYS: Final = frozenset({"kind", "allow_private", "timeout_s", "tls_ca"})


def read_alert_targets(text: str) -> tuple[AlertTarget, ...]:
    """Read receivers from a JSON object; empty text gives none.

    The object has an entry for each receiver: its name, and an object with its settings, like a
    table of `otel-ml.toml`.

    Raises:
        ValueError: A receiver is invalid. The message says what is expected, without secrets.
    """
    if not text.strip():
        return ()
    tables = _read_tables(text)
    if len(tables) > _MOST_ALERT_TARGETS:
        raise ValueError(f"expected at most {_MOST_ALERT_TARGETS} receivers")
    return tuple(_read_alert_target(name, table) for name, table in tables.items())


def hide_alert_targets(text: str) -> str:
    """Return the text of the setting with addresses, secrets and headers replaced by ``***``."""
    try:
        tables = _read_tables(text) if text.strip() else None
    except ValueError:
        return "***"
    if tables is None:
        return ""
    return json.dumps({name: _hide_table(table) for name, table in tables.items()})


def _hide_table(table: object) -> object:
    if not isinstance(table, dict):
        return "***"  # a misspelt key can contain a secret
    return {key: value if key in _SHOWN_KEYS else "***" for key, value in table.items()}


def _read_tables(text: str) -> dict[str, Any]:
    try:
        tables = json.loads(text)
    except ValueError:
        tables = None
    if not isinstance(tables, dict):
        raise ValueError("expected a JSON object with an object for each name")  # noqa: TRY004 - a setting's text
    return tables


def _read_alert_target(name: str, table: object) -> AlertTarget:
    example = "{kind = 'alertmanager', url = 'http://alertmanager:9093'}"
    values = read_table(name, table, _ALERT_TARGET_KEYS, example)
    if missing := {"kind", "url"} - values.keys():
        raise ValueError(f"{name}: expected {' and '.join(sorted(missing))}")
    target = AlertTarget(name, **values)
    if target.secret is not None and target.kind != "webhook":
        raise ValueError(f"{name}.secret: expected it only for kind 'webhook'")
    if target.tls_ca is not None and not target.is_secure:
        raise ValueError(f"{name}.tls_ca: expected an https:// address")
    return target
