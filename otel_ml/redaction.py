"""Hides secrets before they leave the process: by key, and with a function of the user.

This covers everything that is sent: inputs, outputs, parameters, tags, log lines, explanations,
exception messages and source code.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import orjson

from otel_ml.arguments import check_callable, check_text, invalid
from otel_ml.capture.fields import PLAIN_TYPES
from otel_ml.capture.snapshot import ALL, Taking
from otel_ml.capture.taker import TRUNCATED, UNSERIALISABLE, ValueTaker, name_key
from otel_ml.capture.values import (
    LIMIT_BYTES,
    Encoded,
    check_short,
    cut_plain,
    encode,
    encode_tree,
    encode_whole,
    may_be_plain,
    preview,
    preview_of,
)
from otel_ml.errors import quiet, reraise_host_error

REDACTED: Final = "[redacted]"
NOTE: Final = "redacted"

# Values are hidden if their key contains one of these words. ``_`` matches any separator or none.
SECRET_KEYS: Final = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "authorization",
    "api_key",
    "private_key",
)

Redact = Callable[[str], str]

_PLAIN: Final = PLAIN_TYPES | {list, tuple}
_SCALARS: Final = frozenset({int, bool, type(None)})  # no floats: JSON has no infinities
_MARGIN_BYTES: Final = 4_096  # so that a secret at the size limit is seen completely
_CONTAINERS: Final = 64  # checked one by one; larger values are searched as text
_LONG_TEXT: Final = 4_096  # characters; longer texts are searched without digits
_NUMERIC_CHARS: Final = b"0123456789.,"
_KNOWN_KEYS: Final = 10_000
_KNOWN_CHARS: Final = 64
_SEARCHED_DEPTH: Final = 100
# Matches only as the last word of a key: max_tokens is a count, and a tokenizer splits text.
_LAST_WORDS: Final = frozenset({"token"})
_QUOTED: Final = r"(?:\"[^\"\n]*\"|'[^'\n]*')"
_BARE: Final = r"(?:(?:bearer|basic)\s+)?[^\s,;&)}\]\"']+"
_ANNOTATED: Final = r"(?:\s*:\s*[\w.\[\]| ]+?)?"

# Keys of a table's description that contain its first rows, in which the columns are mixed.
_FIRST_ROWS: Final = ("head", "values")
_WITH_NAMES: Final = (list, dict)


class Redaction:
    """Hides secrets in everything that a client sends.

    Args:
        redact: Your function, which gets a string and returns the string to send instead. It is
            called for each string and key in inputs and outputs, for log lines and for messages. If
            it raises an error or returns something else, the whole string is hidden.
        keys: Words that mark a key as secret, such as ``password``. The value of each key that
            contains such a word is hidden. The word ``token`` must be at the end of the key:
            ``access_token`` is hidden, but the count ``max_tokens`` is not.
        captures_hidden: Whether to record fields that a class keeps out of its ``repr`` or its
            dump, such as ``field(repr=False)``.

    Attributes:
        captures_hidden: As above.

    Raises:
        ValueError: `redact` is not callable, or `keys` is not a collection of strings.
    """

    def __init__(
        self,
        redact: Redact | None = None,
        keys: Iterable[str] = SECRET_KEYS,
        *,
        captures_hidden: bool = False,
    ) -> None:
        if redact is not None:
            check_callable("redact", redact, "a function of a text, or None")
        if not issubclass(type(keys), Iterable) or issubclass(type(keys), str | bytes):
            raise invalid("redact_keys", keys, "a collection of words")
        words = [check_text("redact_keys", key, may_be_empty=True).lower() for key in keys]
        self._words = words = [word for word in words if word]
        self.captures_hidden = captures_hidden
        self._redact = redact
        self._secret = re.compile("|".join(map(_in_key, words)), re.IGNORECASE) if words else None
        self._in_text = _assigned(words, "", f"(?:{_QUOTED}|{_BARE})")
        self._in_source = _assigned(words, _ANNOTATED, _QUOTED)
        # A value can have a matching key only if its lower-case text contains one of these.
        self._needles = [re.split("[_-]", word)[0] for word in words]
        self._have_letters_only = all(needle.isalpha() for needle in self._needles)
        self._harmless: set[object] = set()

    def __reduce__(self) -> Any:
        make = functools.partial(Redaction, captures_hidden=self.captures_hidden)
        return make, (self._redact, self._words)

    @property
    def sees_texts(self) -> bool:
        """Whether the user passed a `redact` function, which must see each string."""
        return self._redact is not None

    def is_secret(self, key: object) -> bool:
        """Return whether the value under a key must be hidden."""
        if self._secret is None or key in self._harmless:
            return False
        if self._secret.search(key if type(key) is str else str(key)) is not None:
            return True
        if type(key) is str and len(key) <= _KNOWN_CHARS:
            if len(self._harmless) >= _KNOWN_KEYS:
                self._harmless.clear()
            self._harmless.add(key)
        return False

    def concerns(self, value: object, text: str, *, is_flat: bool = False) -> bool:
        """Return whether a value may contain a secret. If not, it can be sent unchanged.

        Args:
            value: The value.
            text: The value as JSON.
            is_flat: Set it if you know that the value is a dict without nested values, because then
                the check is faster.
        """
        if self._redact is not None:
            return True
        try:
            if type(value) is dict:
                fields: dict[object, object] = value
                if self._harmless.issuperset(fields) and (
                    is_flat
                    or text.find("{", 1) < 0
                    or PLAIN_TYPES.issuperset(map(type, fields.values()))
                ):
                    return False
            elif "{" not in text and type(value) in _PLAIN:
                return False
            return self._secret is not None and not self._is_harmless(value)
        except _Unsure:
            return self._mentions(text)
        except BaseException as error:  # noqa: BLE001 - the user's keys, see errors.py
            reraise_host_error(error)
            return True  # if it cannot be read, check it

    def capture(self, value: object, taking: Taking = ALL) -> "str | CapturedPayload":
        """Copy a call's inputs or outputs, so that the program can change them afterwards.

        Simple values are converted to JSON immediately, because that is faster than a copy. Other
        values are copied. The thread that sends them hides secrets and converts the copy to JSON
        later.

        Args:
            value: The inputs or outputs. They are not changed, and no reference is kept.
            taking: Which parts may be recorded, such as the columns of a table.

        Returns:
            JSON text that can be sent, or a copy that must be encoded.
        """
        if type(value) in _SCALARS and self._redact is None:
            try:
                return orjson.dumps(value).decode()
            except TypeError as error:  # an integer of more than 64 bits
                reraise_host_error(error)
        seen = check_short(value)
        if seen and self._redact is None:
            try:
                if self._secret is None or self._harmless.issuperset(value):  # type: ignore[arg-type]  # a dict
                    return orjson.dumps(value).decode()
            except BaseException as error:  # noqa: BLE001 - the user's keys, see errors.py
                reraise_host_error(error)
        if not may_be_plain(value):
            return self._take(value, taking)
        text = encode_whole(value, seen)
        if not text:
            return (text is not None and self._cut(value)) or self._take(value, taking)
        if self.concerns(value, text, is_flat=seen is True):
            return CapturedPayload(self, text=text, weight=len(text))
        return text

    def _cut(self, value: object) -> "CapturedPayload | None":
        """Encode the beginning of a long value; None if JSON cannot hold it."""
        limit_bytes = LIMIT_BYTES if self._redact is None else LIMIT_BYTES + _MARGIN_BYTES
        cut = cut_plain(value, limit_bytes)
        if cut is None:
            return None
        payload = CapturedPayload(self, text=cut.text, weight=len(cut.text), notes=cut.notes)
        if not self.concerns(value, cut.text):
            payload.finish(cut, preview(value, cut.text))
        return payload

    def _take(self, value: object, taking: Taking) -> "CapturedPayload":
        if self.captures_hidden:
            taking = taking._replace(hidden=True)
        taker = ValueTaker(taking)
        tree = taker.take(value)
        return CapturedPayload(self, tree, weight=taker.weight, notes=frozenset(taker.notes))

    def encode(
        self, value: object, limit_bytes: int = LIMIT_BYTES, *, is_too_long: bool = False
    ) -> Encoded:
        """Convert a value to JSON with secrets hidden.

        Args:
            value: Any value.
            limit_bytes: Maximum size of the JSON in bytes. Longer JSON is cut.
            is_too_long: True if you know that the JSON is longer than `limit_bytes`.

        Returns:
            The JSON text, and notes on what was left out. The notes contain `NOTE` if a secret was
            hidden.
        """
        if self.captures_hidden:
            value = ValueTaker(ALL._replace(hidden=True)).take(value)
        return self._encode(value, limit_bytes, is_too_long=is_too_long)

    def _encode(
        self, value: object, limit_bytes: int = LIMIT_BYTES, *, is_too_long: bool = False
    ) -> Encoded:
        if self._redact is None:
            text, notes = encode(value, limit_bytes, is_too_long=is_too_long)
            if not self.concerns(value, text):
                return Encoded(text, notes)
        else:
            text, notes = encode(value, limit_bytes + _MARGIN_BYTES)
        return self.hide(text, notes, limit_bytes)

    def encode_tree(self, tree: object) -> Encoded:
        """Convert a copy that `ValueTaker` made to JSON. Does the same as `encode`, but faster."""
        text = encode_tree(tree) if self._redact is None else None
        if text is None:
            return self._encode(tree)
        return self.hide(text) if self.concerns(tree, text) else Encoded(text, frozenset())

    def hide(
        self, text: str, notes: frozenset[str] = frozenset(), limit_bytes: int = LIMIT_BYTES
    ) -> Encoded:
        """Hide secrets in JSON text.

        `notes` are the notes on the text so far. The result includes them.
        """
        whole = orjson.loads(text)
        renamed: set[str] = set()
        shown = self._apply(whole, 0, renamed)
        notes |= renamed
        text, more = encode(shown, limit_bytes)
        return Encoded(text, notes | more if shown == whole else notes | more | {NOTE})

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return tags or other named values, including lists, with secrets hidden."""
        return {
            key: REDACTED if self.is_secret(key) else self._apply(item, 0, set())
            for key, item in given.items()
        }

    def shown(self, text: str) -> str:
        """Return the string to send instead of `text`, as decided by the user's function."""
        if self._redact is None:
            return text
        with quiet("redact"):
            shown = self._redact(text)
            return shown if isinstance(shown, str) else REDACTED
        return REDACTED

    def text(self, text: str) -> str:
        """Return a log line or message with the values of secret keys in it hidden."""
        if self._in_text is not None and self._mentions(text):
            text = self._in_text.sub(rf"\1{REDACTED}", text)
        return self.shown(text)

    def source(self, text: str) -> str:
        """Return source code without the literals that it assigns to secret names.

        For example, ``password = "x"`` loses its value.
        """
        if self._in_source is not None and self._mentions(text):
            text = self._in_source.sub(rf'\1"{REDACTED}"', text)
        return self.shown(text)

    def _mentions(self, text: str) -> bool:
        """Return quickly whether a text could contain a secret key."""
        lowered = text.lower()
        if len(text) > _LONG_TEXT and self._have_letters_only:
            # Long texts are mostly numbers. Without digits, the search takes a fifth of the time.
            left = lowered.encode("utf-8", "surrogatepass").translate(None, _NUMERIC_CHARS)
            lowered = left.decode("utf-8", "surrogatepass")
        return any(needle in lowered for needle in self._needles)

    def _apply(self, value: Any, depth: int, notes: set[str]) -> Any:
        if depth > _SEARCHED_DEPTH:
            return REDACTED
        if isinstance(value, dict):
            hidden = _FIRST_ROWS if self._has_secret_column(value) else ()
            shown: dict[str, Any] = {}
            for key, item in value.items():
                is_secret = key in hidden or self.is_secret(key)
                part = REDACTED if is_secret else self._apply(item, depth + 1, notes)
                # the user's function may return the same text for several keys
                shown[name_key(key, shown, notes, self.shown(key))] = part
            return shown
        if isinstance(value, list):
            return [self._apply(item, depth + 1, notes) for item in value]
        return self.shown(value) if isinstance(value, str) else value

    def _has_secret_column(self, value: Mapping[str, Any]) -> bool:
        """Return whether the description of a table names a secret column."""
        if "type" not in value or "shape" not in value:
            return False
        names = [*_names_in(value.get("columns")), *_names_in(value.get("cells"))]
        return any(map(self.is_secret, names))

    def _is_harmless(self, value: Any) -> bool:
        """Check the keys of plain containers. Most runs have few keys, and the same ones."""
        harmless, left = self._harmless, _CONTAINERS
        containers = [value]
        for container in containers:  # the list grows during the loop
            kind = type(container)
            if kind is not dict and kind is not list and kind is not tuple:
                raise _Unsure
            left -= 1 + len(container) // 16
            if left < 0:
                raise _Unsure
            items = container
            if kind is dict:
                if not harmless.issuperset(container) and any(map(self.is_secret, container)):
                    return False
                items = container.values()
            if not PLAIN_TYPES.issuperset(map(type, items)):
                containers += [item for item in items if type(item) not in PLAIN_TYPES]
        return True


class CapturedPayload:
    """A copy of a run's inputs or outputs. It is converted to JSON only when the run is sent.

    Args:
        redaction: Rules that hide secrets in the copy.
        tree: The copy as Python objects. It is not used if `text` is given. No other code may have
            a reference to it.
        text: The copy as JSON, with secrets that are not hidden yet.
        weight: Approximate size in bytes. It counts toward the size limit of the send queue.
        notes: Notes on parts that were left out of the copy.
    """

    __slots__ = ("_encoded", "_notes", "_preview", "_redaction", "_text", "_tree", "weight")

    def __init__(
        self,
        redaction: Redaction,
        tree: object = None,
        *,
        text: str | None = None,
        weight: int = 0,
        notes: frozenset[str] = frozenset(),
    ) -> None:
        self._redaction = redaction
        self._tree = tree
        self._text = text
        self.weight = weight
        self._notes = notes
        self._encoded: Encoded | None = None
        self._preview: str | None = None

    def finish(self, encoded: Encoded, short: str | None) -> None:
        """Set what `encode` and `preview` return, if it is already known and contains no secret."""
        self._encoded = encoded
        self._preview = short

    def encode(self) -> Encoded:
        """Return the JSON text with secrets hidden, and notes on what was left out. Never raises.

        A second call returns the same result. Several threads may call it at the same time.
        """
        if self._encoded is None:
            encoded = Encoded("null", frozenset({UNSERIALISABLE}))
            with quiet("encode"):
                if self._text is None:
                    encoded = self._redaction.encode_tree(self._tree)
                else:
                    encoded = self._redaction.hide(self._text)
            self._encoded = Encoded(encoded.text, encoded.notes | self._notes)
        return self._encoded

    def preview(self) -> str | None:
        """Return a short version as valid JSON; None if the JSON text is short itself."""
        text, notes = self.encode()
        if self._preview is not None:
            return self._preview
        if TRUNCATED not in notes or NOTE in notes or self._text is not None:
            return preview_of(text)
        return preview(self._tree, text)


def weight_of(captured: str | CapturedPayload) -> int:
    """Return the approximate size of captured inputs or outputs in bytes."""
    return len(captured) if isinstance(captured, str) else captured.weight


def _names_in(value: object) -> list[str]:
    return (
        [name for name in value if isinstance(name, str)] if isinstance(value, _WITH_NAMES) else []
    )


class _Unsure(Exception):
    """A value is too large to check each key, or contains more than dicts, lists and tuples."""


def _in_key(word: str) -> str:
    end = "[^a-z]*$" if word in _LAST_WORDS else ""
    return _spaced(word) + end


def _spaced(word: str) -> str:
    return "[-_ ]?".join(re.escape(part) for part in re.split("[_-]", word) if part)


def _assigned(words: list[str], annotation: str, value: str) -> re.Pattern[str] | None:
    """Return a pattern for ``key = value``, ``key: value`` and ``"key": value`` in text."""
    if not words:
        return None
    keys = "|".join(_spaced(word) + (r"\b" if word in _LAST_WORDS else r"[\w-]*") for word in words)
    return re.compile(rf"([\w.-]*(?:{keys})[\"']?{annotation}\s*[=:]\s*){value}", re.IGNORECASE)
