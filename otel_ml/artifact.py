"""Data that is logged under a reference: its document, and what its event says of it."""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import orjson

from otel_ml import attributes as names
from otel_ml.capture.values import LIMIT_BYTES, PREVIEW_BYTES, TRUNCATED, UNSERIALISABLE, clean
from otel_ml.errors import quiet, untrusted
from otel_ml.redaction import NOTE as REDACTED_NOTE
from otel_ml.redaction import REDACTED, Redaction
from otel_ml.tags import Value
from otel_ml.types import Bytes, DataFrame, Image, Native, Numpy, Series, Text, describe, wrap
from otel_ml.types.data import Data, Form
from otel_ml.types.scalars import TAG, VALUE, from_base64
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
    if _is_secret(data, ref, redaction):
        return Artifact(said, notes=(REDACTED_NOTE,))
    notes: tuple[str, ...] = ()
    if not is_within(data.data, MOST_BYTES):
        said[names.ARTIFACT_PREVIEW] = _preview(data, redaction, is_cut=True)
        return Artifact(said, notes=(TRUNCATED,))
    shown = _without_secret_columns(data, redaction)
    if shown is not data:
        notes = (REDACTED_NOTE,)
    written = None
    with quiet("run.log"):  # a wrapper of the user's may raise
        written = _write(shown, redaction)
    if written is None:
        said[names.ARTIFACT_PREVIEW] = _preview(shown, redaction)
        return Artifact(said, notes=(*notes, UNSERIALISABLE))
    document, seen, is_hidden = written
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
    hidden = _hide_form(form, redaction)
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


# How much a value is, roughly and fast, before anything is made of it.

_LEAF: Final = 16
_LONG: Final = frozenset({str, bytes, bytearray})
_CONTAINERS: Final = frozenset({list, tuple, set, frozenset, dict})
_LEAVES: Final = frozenset({int, float, bool, type(None), complex})


def is_within(value: Any, limit_bytes: int) -> bool:
    """Tell whether a value takes no more than so many bytes, as far as can be seen.

    It looks into plain containers, never into objects of the host's, and stops at the limit.
    What cannot be looked at counts as small.
    """
    left = limit_bytes
    waiting, seen = [value], set[int]()
    while waiting and left >= 0:
        item = waiting.pop()
        left -= _size(item)
        if type(item) in _CONTAINERS and id(item) not in seen and left >= 0:
            seen.add(id(item))
            waiting += _parts(item)
    return left >= 0


def _parts(container: Any) -> list[Any]:
    """List what a container holds, unless it is small values alone."""
    with untrusted:  # another thread may change it
        is_dict = type(container) is dict
        parts = [*container, *container.values()] if is_dict else [*container]
        return [] if _LEAVES.issuperset(map(type, parts)) else parts
    return []


def _size(value: Any) -> int:
    kind = type(value)
    if kind in _LEAVES:
        return _LEAF
    if kind in _LONG:
        return len(value)
    if kind in _CONTAINERS:
        return _LEAF * len(value)
    with untrusted:
        return _size_of_object(value)
    return _LEAF


def _size_of_object(value: Any) -> int:
    kind = type(value)
    if issubclass(kind, tuple(_LONG)):
        return len(value)
    if issubclass(kind, tuple(_CONTAINERS)):
        return _LEAF * len(value)
    package = kind.__module__.partition(".")[0]
    if isinstance(value, memoryview) or package == "numpy":
        return int(value.nbytes)
    if package == "pandas" and hasattr(value, "memory_usage"):
        usage = value.memory_usage(deep=True)
        return int(usage.sum() if hasattr(usage, "sum") else usage)
    if package == "PIL" and hasattr(value, "getbands"):
        return int(value.width * value.height * len(value.getbands()))
    return _LEAF


# What is secret in the written form of data; the rest stays readable.

_OURS: Final = "otel_ml.types."
_ITEMS: Final = frozenset({"tuple", "set", "frozenset"})
_FORMS: Final = frozenset({"data", "value"})


def _is_secret(data: Data, ref: str, redaction: Redaction) -> bool:
    """Tell whether all of it is secret, by its reference or the name of a series."""
    return redaction.is_secret(ref) or (
        isinstance(data, Series) and redaction.is_secret(data.data.name)
    )


def _without_secret_columns(data: Data, redaction: Redaction) -> Data:
    """Leave out the columns of a table that have secret names; any other data stays itself."""
    if not isinstance(data, DataFrame):
        return data
    shown = [not redaction.is_secret(name) for name in data.data.columns]
    return data if all(shown) else DataFrame(data.data.loc[:, shown])


def _hide_form(form: Form, redaction: Redaction) -> Form:
    """Hide what is secret in the form of data: values of secret keys, and what texts hold.

    Numbers, dates and what is binary stay.
    """
    kind, params = form["type"], form["params"]
    if kind == Text.type_name and isinstance(params["data"], str):
        shown: Any = {"data": redaction.text(params["data"])}
    elif kind in {Text.type_name, Native.type_name} or not kind.startswith(_OURS):
        shown = _hide_node(params, redaction)
    else:
        shown = _hide_elements(params, redaction)
    return {**form, "params": shown}


def _hide_node(node: Any, redaction: Redaction) -> Any:
    if isinstance(node, str):
        return redaction.shown(node)
    if isinstance(node, list):
        return [_hide_node(item, redaction) for item in node]
    if not isinstance(node, dict):
        return node
    if TAG in node:
        return _hide_tagged(node, redaction)
    return {
        redaction.shown(key): REDACTED if redaction.is_secret(key) else _hide_node(item, redaction)
        for key, item in node.items()
    }


def _hide_tagged(node: Form, redaction: Redaction) -> Any:
    tag, value = node[TAG], node.get(VALUE)
    if tag == "text":
        text = from_base64(str(value)).decode("utf-8", "surrogatepass")
        return redaction.shown(clean(text))
    if tag == "repr":
        return {TAG: tag, VALUE: redaction.text(str(value))}
    if tag in _ITEMS:
        return {TAG: tag, VALUE: _hide_node(value, redaction)}
    if tag in _FORMS and isinstance(value, dict):
        return {TAG: tag, VALUE: _hide_form(value, redaction)}
    if tag == "path" and isinstance(value, list):
        return {TAG: tag, VALUE: [_hide_node(value[0], redaction), *value[1:]]}
    if tag == "dict" and isinstance(value, list):
        pairs = [
            [
                _hide_node(key, redaction),
                REDACTED if redaction.is_secret(key) else _hide_node(item, redaction),
            ]
            for key, item in value
        ]
        return {TAG: tag, VALUE: pairs}
    return node


def _hide_elements(node: Any, redaction: Redaction) -> Any:
    """Hide what elements of arrays and tables hold; what describes these stays."""
    if isinstance(node, list):
        return [_hide_elements(item, redaction) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _hide_node(item, redaction) if key == "values" else _hide_elements(item, redaction)
        for key, item in node.items()
    }
