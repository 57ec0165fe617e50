"""Values logged with `Run.log`: the stored file and the attributes of its event."""

import base64
import hashlib
import re
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from otel_ml import attributes as names
from otel_ml.capture.fields import fields_of
from otel_ml.capture.kinds import is_from
from otel_ml.capture.taker import TRUNCATED, UNSERIALISABLE, name_key
from otel_ml.capture.values import LIMIT_BYTES, PREVIEW_BYTES, clean
from otel_ml.deferred_attributes import has_room
from otel_ml.errors import quiet, untrusted
from otel_ml.file_formats import MEDIA_TYPE, PLAIN_JSON, WHY_TYPED
from otel_ml.redaction import NOTE as REDACTED_NOTE
from otel_ml.redaction import REDACTED, Redaction
from otel_ml.tags import Value
from otel_ml.types import (
    Arrow,
    DataFrame,
    Image,
    Native,
    Numpy,
    Polars,
    Series,
    Text,
    Torch,
    describe,
    wrap,
)
from otel_ml.types.data import Data, File, Form, find_wrapper
from otel_ml.types.scalars import OF, TAG, VALUE, from_base64
from otel_ml.types.walker import LEAF_BYTES, BuiltIn, Walker, kept_of
from otel_ml.types.wrappers import copy_plain, names_of

# Limit for a value and for its document, in bytes. For larger values only the description is sent.
MOST_BYTES: Final = 64 * 1024 * 1024

# Largest size in bytes of a value that is only copied when it is logged, and converted later.
_MOST_COPIED: Final = 16 * 1024 * 1024
_COPIED: Final = frozenset({Numpy, Torch, DataFrame, Series, Polars, Image})

_HIDDEN_BYTES: Final = PREVIEW_BYTES - 384  # size of a preview without its type and format
_WHY_CHARS: Final = 100


@dataclass(frozen=True, slots=True)
class LoggedValue:
    """A value that the user passed to `Run.log`, in the form in which it is sent to the collector.

    Attributes:
        facts: Attributes of the span event for the value, such as its name and type.
        document: The value as a file, if it is too long for the span event. It is uploaded
            separately. None if the span event contains the value.
        sha256: SHA-256 of the file in hex. Empty if only the value's type and shape are stored.
        notes: Notes on parts that are not stored. Empty if the whole value is stored.
    """

    facts: dict[str, Value]
    document: bytes | None = None
    sha256: str = ""
    notes: tuple[str, ...] = ()


def make_artifact(
    ref: str, value: object, redaction: Redaction, *, is_typed: bool = False
) -> LoggedValue:
    """Convert a value that the user passed to `Run.log` to a file that other tools can open.

    If no file format returns the value unchanged, it becomes typed JSON, and the preview says why.
    Later changes to the value have no effect.

    Args:
        ref: Name under which the user logs the value.
        value: The value.
        redaction: Hides secrets in the value.
        is_typed: Whether to use typed JSON in any case. Values of data sets need it, because the
            digest of an item is made of it.
    """
    data = wrap(value)
    facts: dict[str, Value] = {
        names.ARTIFACT_REF: clean(redaction.shown(ref)),
        names.ARTIFACT_TYPE: clean(data.type_name),
    }
    if redaction.is_secret(ref) or (
        isinstance(data, Series | Polars) and redaction.is_secret(getattr(data.data, "name", ""))
    ):
        return LoggedValue(facts, notes=(REDACTED_NOTE,))
    notes: tuple[str, ...] = ()
    if not is_within(data.data, MOST_BYTES):
        facts[names.ARTIFACT_PREVIEW] = _preview(data, redaction, is_cut=True)
        return LoggedValue(facts, notes=(TRUNCATED,))
    shown = _without_secret_columns(data, redaction)
    if shown is not data:
        notes = (REDACTED_NOTE,)
    written = None
    if isinstance(shown, BuiltIn):
        with untrusted:  # a library may fail on its own value: then its text is stored
            written = _write(shown, redaction, is_typed=is_typed)
        shown = shown if written is not None else Native(shown.data)
        facts[names.ARTIFACT_TYPE] = clean(shown.type_name)
    if written is None:
        with quiet("run.log"):  # a wrapper of the user may raise
            written = _write(shown, redaction, is_typed=is_typed)
    if written is None:
        facts[names.ARTIFACT_PREVIEW] = _preview(shown, redaction)
        return LoggedValue(facts, notes=(*notes, UNSERIALISABLE))
    if written.is_hidden:
        notes = (REDACTED_NOTE,)
    facts[names.ARTIFACT_PREVIEW] = _preview(
        written.shown, redaction, details=written.details, stored=written.stored
    )
    content = written.file.content
    if len(content) > MOST_BYTES:
        return LoggedValue(facts, notes=(*notes, TRUNCATED))
    # Not in a thread, because the event needs the hash. For 64 MiB of numbers, writing takes 0.1 s
    # and hashing 0.05 s.
    sha256 = hashlib.sha256(content).hexdigest()
    facts[names.ARTIFACT_BYTES] = len(content)
    facts[names.ARTIFACT_SHA256] = sha256
    is_json = written.file.media_type == PLAIN_JSON
    if len(content) > LIMIT_BYTES:
        return LoggedValue(facts, content, sha256, notes)
    if is_json:
        facts[names.ARTIFACT_JSON] = content.decode()
    else:
        facts[names.ARTIFACT_BASE64] = base64.b64encode(content).decode()
    return LoggedValue(facts, sha256=sha256, notes=notes)


@dataclass(frozen=True, slots=True)
class CopiedValue:
    """A copy of a value that the user logged, to be converted to a file later.

    Attributes:
        data: The copy. Call `wait` before you read it.
        wait: Function that waits until the data have arrived from the GPU.
        weight: Size of the copy in bytes.
    """

    data: Data
    wait: Callable[[], object]
    weight: int


def copy_value(ref: str, value: object, redaction: Redaction) -> CopiedValue | None:
    """Copy an array, tensor, table or image that the user logs, without waiting for the GPU.

    The thread that sends converts the copy to a file later, so that `Run.log` returns fast.

    Args:
        ref: Name under which the user logs the value.
        value: The value to copy.
        redaction: Decides whether the name marks the value as a secret.

    Returns:
        The copy. None if the value must be converted immediately: it has another type, it is too
        large, it may contain secrets, or too many copies are waiting.
    """
    kind = type(value)
    wrapper = kind if issubclass(kind, Data) else find_wrapper(kind)
    if wrapper not in _COPIED or redaction.is_secret(ref):
        return None
    with untrusted:  # a library may fail on its own value
        data: Any = wrap(value)
        if not _has_no_secrets(data, redaction):
            return None
        size = int(wrapper.inspection.size_of(data.data))
        if size <= _MOST_COPIED and has_room(size):
            copied = copy_plain(data)
            return None if copied is None else CopiedValue(*copied, size)
    return None


def _has_no_secrets(data: Data, redaction: Redaction) -> bool:
    """Tell quickly whether a value surely contains nothing to hide."""
    if not isinstance(data, BuiltIn) or isinstance(data, Native):
        return False
    if isinstance(data, Text):
        return not redaction.concerns(data, data.data)
    if data.inspection.is_binary(data.data):
        return True
    if redaction.sees_texts or not data.inspection.is_flat(data.data):
        return False
    return not any(redaction.is_secret(name) for name in names_of(data))


@dataclass(frozen=True, slots=True)
class _Written:
    """A value as a file.

    Attributes:
        file: The file. Typed JSON if no other format returns the value unchanged.
        shown: Value that the preview is made from.
        details: Additional entries of the preview: the type, and which part was kept.
        why_typed: Why the file is typed JSON; empty if it is not.
        is_hidden: Whether something was hidden.
    """

    file: File
    shown: Data
    details: Form
    why_typed: str = ""
    is_hidden: bool = False

    @property
    def stored(self) -> Form:
        """Entries of the preview about the file format."""
        why = {WHY_TYPED: self.why_typed[:_WHY_CHARS]} if self.why_typed else {}
        return {MEDIA_TYPE: self.file.media_type, **why}


def _write(data: Data, redaction: Redaction, *, is_typed: bool) -> _Written:
    """Convert data to a file with secrets hidden.

    It may raise, because the data may use a user's wrapper.
    """
    why = "values of data sets are stored as typed JSON" if is_typed else ""
    if not is_typed and isinstance(data, BuiltIn) and _has_no_secrets(data, redaction):
        file = data._to_file({})
        if isinstance(file, File):
            return _Written(file, data, {})
        why = file
    walker = Walker(with_hidden=redaction.captures_hidden)
    form = data.form(walker) if isinstance(data, BuiltIn) else data.to_jcr()
    if isinstance(data, Native) and not why:
        file = data._to_file(form)
        if not isinstance(file, File):
            why = file
        elif not redaction.concerns(data, file.content.decode()):
            return _Written(file, data, {})
    details = _describe_kept(form, walker.texts) if isinstance(data, Native) else {}
    form, document, is_hidden = _write_typed(data, form, redaction)
    shown: Data | None = data
    if is_hidden:
        shown = None
        with untrusted:  # such as categories that became equal
            shown = type(data).from_jcr(form["params"])
    made: File | str = why or "its secrets are hidden"
    if not why and isinstance(shown, BuiltIn):
        made = shown._to_file(form)
    elif not isinstance(data, BuiltIn):
        made = "its own wrapper writes it"
    if not isinstance(made, File):
        if isinstance(shown, Text | Native | Arrow | Polars):
            data = shown
        typed = File(PLAIN_JSON, document)
        return _Written(typed, data, details, why_typed=made, is_hidden=is_hidden)
    return _Written(made, shown or data, details, is_hidden=is_hidden)


def _write_typed(data: Data, form: Form, redaction: Redaction) -> tuple[Form, bytes, bool]:
    """Hide secrets in the typed form of a value.

    Returns:
        The typed form, the same as JSON, and whether something was hidden.
    """
    document = orjson.dumps(form)
    is_binary = isinstance(data, BuiltIn) and data.inspection.is_binary(data.data)
    if is_binary or not redaction.concerns(data, document.decode()):
        return form, document, False
    hidden = _hide_form(form, redaction)
    if hidden == form:
        return form, document, False
    return hidden, orjson.dumps(hidden), True


def _describe_kept(form: Form, texts: int) -> Form:
    """Describe which part of a value was kept, if it is not complete."""
    written = form["params"]["data"]
    kept = kept_of(written)
    if kept:
        return {"of": written.get(OF, ""), "kept": kept}
    if not texts:
        return {}
    return {"kept": f"{'an object' if texts == 1 else f'{texts} objects'} within it as text only"}


def _preview(
    data: Data,
    redaction: Redaction,
    *,
    is_cut: bool = False,
    details: Form | None = None,
    stored: Form | None = None,
) -> str:
    """Describe data briefly.

    The beginning of a cut text is left out, because it may end in half a secret. `details` and the
    description pass through the redaction, `stored` does not.
    """
    form = describe(data)
    if is_cut and isinstance(data, Text | Native):
        form.pop("head", None)
    rest: Any = {key: fact for key, fact in form.items() if key != "type"}
    shown = orjson.loads(
        redaction.encode({**(details or {}), **rest, **(details or {})}, _HIDDEN_BYTES).text
    )
    return orjson.dumps({"type": form["type"], **(stored or {}), **shown}).decode()


# Estimate the size of a value quickly, before it is serialised.

_STRINGS: Final = frozenset({str, bytes, bytearray})
_CONTAINERS: Final = frozenset({list, tuple, set, frozenset, dict, deque, OrderedDict, Counter})
_LEAVES: Final = frozenset({int, float, bool, type(None), complex})
_SMALL: Final = _LEAVES | {str, bytes, bytearray}


def is_within(value: Any, limit_bytes: int) -> bool:
    """Estimate whether a value takes at most `limit_bytes` bytes of memory.

    Use it to find values that are too large to record, before you convert them to JSON. It adds up
    the sizes of all elements and fields, and stops at the limit. An object whose fields cannot be
    read counts as small.
    """
    left = limit_bytes
    waiting, seen = [value], set[int]()
    while waiting and left >= 0:
        item = waiting.pop()
        left -= _size(item)
        if type(item) not in _SMALL and id(item) not in seen and left >= 0:
            seen.add(id(item))
            waiting += _parts(item)
    return left >= 0


def _parts(value: Any) -> list[Any]:
    """Return the parts of a value; empty if all of them are small."""
    kind = type(value)
    with untrusted:  # another thread may change the value
        if kind not in _CONTAINERS:
            return [item for _, item in fields_of(value)]
        parts = [*value, *value.values()] if issubclass(kind, dict) else [*value]
        return [] if _LEAVES.issuperset(map(type, parts)) else parts
    return []


def _size(value: Any) -> int:
    kind = type(value)
    if kind in _LEAVES:
        return LEAF_BYTES
    if kind in _STRINGS:
        return len(value)
    if kind in _CONTAINERS:
        return LEAF_BYTES * len(value)
    with untrusted:
        return _size_of_object(value)
    return LEAF_BYTES


def _size_of_object(value: Any) -> int:
    kind = type(value)
    if issubclass(kind, tuple(_STRINGS)):
        return len(value)
    if issubclass(kind, tuple(_CONTAINERS)):
        return LEAF_BYTES * len(value)
    if isinstance(value, memoryview):
        return value.nbytes
    wrapper = find_wrapper(kind)
    if wrapper is not None and issubclass(wrapper, BuiltIn):
        return int(wrapper.inspection.size_of(value))
    if is_from("pandas", kind) and hasattr(value, "memory_usage"):  # a pandas index
        return int(value.memory_usage(deep=True))
    return LEAF_BYTES


# Hide secrets in serialised data. Everything else stays readable.

_PAIR: Final = 2
_TABLE_FORMS: Final = {Arrow.type_name: Arrow, Polars.type_name: Polars}
_TEXT_DTYPES: Final = re.compile("str|cat|enum|dict|object")
_OWN_TYPES: Final = "otel_ml.types."
_ITEMS: Final = frozenset({"tuple", "set", "frozenset", "deque", "member", "slice", "array"})
_PAIRS: Final = frozenset({"dict", "fields", "ordered", "counter"})
_VALUES: Final = frozenset({"values", "attrs"})  # keys in an array or table
_FORMS: Final = frozenset({"data", "value"})


def _without_secret_columns(data: Data, redaction: Redaction) -> Data:
    """Remove the columns with secret names from a pandas table.

    Other data is returned unchanged.
    """
    if not isinstance(data, DataFrame):
        return data
    shown = [not redaction.is_secret(name) for name in data.data.columns]
    return data if all(shown) else DataFrame(data.data.loc[:, shown])


class _Hider:
    """Hides secrets in the columns of a table that is written as bytes."""

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction

    def column(
        self,
        column: Any,
        name: str,
        dtype: str,
        listed: Callable[[], list[Any]],
        make: Callable[[list[Any]], Any],
    ) -> Any:
        """Return a table column with its secrets hidden. None if the whole column must be hidden.

        Args:
            column: The column, such as a pyarrow array. If it contains no secret, it is returned
                unchanged.
            name: Name of the column. It can mark the whole column as secret, such as ``password``.
            dtype: Element type of the column as text. Only types that can contain text are
                searched for secrets.
            listed: Function without arguments that returns the cells as Python values.
            make: Function that builds a column of the same element type from Python values.
        """
        if self._redaction.is_secret(name):
            return None
        if not self._inspects(dtype):
            return column
        cells = listed()
        shown = [self._hide(item) for item in cells]
        if shown == cells:
            return column
        with untrusted:
            return make(shown)
        return None

    def _inspects(self, dtype: str) -> bool:
        lowered = dtype.lower()
        if self._redaction.sees_texts and _TEXT_DTYPES.search(lowered):
            return True
        return "struct" in lowered or "map<" in lowered

    def _hide(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._under(key, item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._hide(item) for item in value]
        if isinstance(value, tuple) and len(value) == _PAIR:  # an entry of a map
            return (value[0], self._under(value[0], value[1]))
        return self._redaction.shown(value) if isinstance(value, str) else value

    def _under(self, key: object, item: Any) -> Any:
        if not self._redaction.is_secret(key):
            return self._hide(item)
        return REDACTED if isinstance(item, str) else None


def _hide_form(form: Form, redaction: Redaction) -> Form:
    """Hide secrets in serialised data: values of secret keys, and secrets in texts.

    Numbers, dates and binary data are not changed.
    """
    kind, params = form["type"], form["params"]
    table = _TABLE_FORMS.get(kind)
    if table is not None:
        value = table.from_jcr(params).data
        shown = table.forms().hide(value, _Hider(redaction).column)
        return form if shown is value else table(shown).form(Walker())
    if kind == Text.type_name and isinstance(params["data"], str):
        shown = {"data": redaction.text(params["data"])}
    elif kind in {Text.type_name, Native.type_name} or not kind.startswith(_OWN_TYPES):
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
    shown: dict[str, Any] = {}
    for key, item in node.items():
        part = REDACTED if redaction.is_secret(key) else _hide_node(item, redaction)
        shown[name_key(key, shown, set(), redaction.shown(key))] = part
    return shown


def _hide_tagged(node: Form, redaction: Redaction) -> Any:
    tag, value = node[TAG], node.get(VALUE)
    if tag == "text":
        text = from_base64(str(value)).decode("utf-8", "surrogatepass")
        return redaction.shown(clean(text))
    if tag == "repr":
        return {**node, VALUE: redaction.text(str(value))}
    if tag in _ITEMS:
        return {**node, VALUE: _hide_node(value, redaction)}
    if tag in _FORMS and isinstance(value, dict):
        return {TAG: tag, VALUE: _hide_form(value, redaction)}
    if tag == "path" and isinstance(value, list):
        return {TAG: tag, VALUE: [_hide_node(value[0], redaction), *value[1:]]}
    if tag in _PAIRS and isinstance(value, list):
        pairs = [
            [
                _hide_node(key, redaction),
                REDACTED if redaction.is_secret(key) else _hide_node(item, redaction),
            ]
            for key, item in value
        ]
        return {**node, VALUE: pairs}
    return node


def _hide_elements(node: Any, redaction: Redaction) -> Any:
    """Hide secrets in the elements of arrays and tables, but not in their descriptions."""
    if isinstance(node, list):
        return [_hide_elements(item, redaction) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _hide_node(item, redaction) if key in _VALUES else _hide_elements(item, redaction)
        for key, item in node.items()
    }
