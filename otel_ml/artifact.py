"""Data that is logged under a reference: its document, and what its event says of it."""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import orjson

from otel_ml import attributes as names
from otel_ml.capture.values import LIMIT_BYTES, PREVIEW_BYTES, TRUNCATED, UNSERIALISABLE, clean
from otel_ml.errors import report
from otel_ml.hidden import hide, is_secret, without_secret_columns
from otel_ml.redaction import NOTE as REDACTED_NOTE
from otel_ml.redaction import Redaction
from otel_ml.size import is_within
from otel_ml.tags import Value
from otel_ml.types import Bytes, Image, Native, Numpy, Text, describe, wrap
from otel_ml.types.data import Data
from otel_ml.types.tagged import BuiltIn, Walker

# Of a value, and of its document: beyond it only what `describe` says of it is sent.
MOST_BYTES: Final = 64 * 1024 * 1024

_HIDDEN_BYTES: Final = PREVIEW_BYTES - 128  # of a preview without its type


@dataclass(frozen=True, slots=True)
class Artifact:
    """What is sent of one value.

    Attributes:
        said: The attributes of its event.
        document: What is to be uploaded; None when the event holds it, or there is none.
        sha256: Of the document, in hex; empty when there is none.
        notes: What was left out.
    """

    said: dict[str, Value]
    document: bytes | None = None
    sha256: str = ""
    notes: tuple[str, ...] = ()


def make_artifact(ref: str, value: object, redaction: Redaction) -> Artifact:
    """Write a value as it is now. Nothing of the value is kept."""
    data = wrap(value)
    said: dict[str, Value] = {
        names.ARTIFACT_REF: clean(redaction.shown(ref)),
        names.ARTIFACT_TYPE: clean(data.type_name),
    }
    if is_secret(data, ref, redaction):
        return Artifact(said, notes=(REDACTED_NOTE,))
    notes: tuple[str, ...] = ()
    if not is_within(data.data, MOST_BYTES):
        said[names.ARTIFACT_PREVIEW] = _preview(data, redaction, is_cut=True)
        return Artifact(said, notes=(TRUNCATED,))
    shown = without_secret_columns(data, redaction)
    if shown is not data:
        notes = (REDACTED_NOTE,)
    try:
        document, seen, is_hidden = _write(shown, redaction)
    except BaseException as error:  # noqa: BLE001 - a wrapper of the user's, see errors.py
        report("run.log", error)
        said[names.ARTIFACT_PREVIEW] = _preview(shown, redaction)
        return Artifact(said, notes=(*notes, UNSERIALISABLE))
    if is_hidden:
        notes = (REDACTED_NOTE,)
    said[names.ARTIFACT_PREVIEW] = _preview(seen, redaction)
    if len(document) > MOST_BYTES:
        return Artifact(said, notes=(*notes, TRUNCATED))
    return _placed(said, document, notes)


def _placed(said: dict[str, Value], document: bytes, notes: tuple[str, ...]) -> Artifact:
    """Say which document it is; a short one travels with the event."""
    # Here, not on a thread: the event names it. To write 64 MiB of numbers took 0.27 s, their
    # hash 0.05 s more.
    sha256 = hashlib.sha256(document).hexdigest()
    said[names.ARTIFACT_BYTES] = len(document)
    said[names.ARTIFACT_SHA256] = sha256
    if len(document) > LIMIT_BYTES:
        return Artifact(said, document, sha256, notes)
    said[names.ARTIFACT_JSON] = document.decode()
    return Artifact(said, sha256=sha256, notes=notes)


def _write(data: Data, redaction: Redaction) -> tuple[bytes, Data, bool]:
    """Write data with what is secret hidden.

    Returns:
        The document, what a preview may be made of, and whether something was hidden.
    """
    form = data.form(Walker()) if isinstance(data, BuiltIn) else data.to_jcr()
    document = orjson.dumps(form)
    if _is_binary(data) or not redaction.concerns(data, document.decode()):
        return document, data, False
    hidden = hide(form, redaction)
    if hidden == form:
        return document, data, False
    if isinstance(data, Text | Native):
        data = type(data)(hidden["params"]["data"])
    return orjson.dumps(hidden), data, True


def _is_binary(data: Data) -> bool:
    return isinstance(data, Bytes | Image) or (
        isinstance(data, Numpy) and not data.data.dtype.hasobject
    )


def _preview(data: Data, redaction: Redaction, *, is_cut: bool = False) -> str:
    """Describe data in short; of a text that is cut not its end, which may be half a secret."""
    form = describe(data)
    if is_cut and isinstance(data, Text | Native):
        form.pop("head", None)
    rest: Any = {key: fact for key, fact in form.items() if key != "type"}
    shown = orjson.loads(redaction.encode(rest, _HIDDEN_BYTES).text)
    return orjson.dumps({"type": form["type"], **shown}).decode()
