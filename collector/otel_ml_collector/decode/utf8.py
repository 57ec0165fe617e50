"""Replaces invalid UTF-8 in requests, so that one bad byte does not cost the whole request.

Senders that cut texts by bytes, as some do at a length limit, write only half of a character.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from otel_ml_collector.decode.fields import LEN, walk_fields, write_field
from otel_ml_collector.errors import TooLarge
from otel_ml_collector.json_text import read_invalid_body

_SHOWN: Final = 5
_LABEL: Final = "label"
_REPEATED: Final = 3  # its value for repeated fields
_INVALID: Final = "surrogateescape"
# Most fields to walk over in one request, so that this takes at most 2 s.
_MOST_FIELDS: Final = 500_000


@dataclass(frozen=True, slots=True)
class Replaced:
    """A text in which invalid UTF-8 was replaced.

    Attributes:
        place: Path of the text in the request.
        span: Trace ID and span ID of its span, in hex; empty if it belongs to none.
    """

    place: str
    span: str = ""

    def __str__(self) -> str:
        """Return a description with the span and the place of the text."""
        return f"span {self.span}, {self.place}" if self.span else self.place


def describe(replaced: Sequence[str]) -> str:
    """Return a sentence that names the first few texts; empty if there are none."""
    if not replaced:
        return ""
    more = "; and others" if len(replaced) > _SHOWN else ""
    return f"Invalid UTF-8 was replaced by U+FFFD in: {'; '.join(replaced[:_SHOWN])}{more}"


def is_utf8(body: bytes) -> bool:
    """Return whether bytes are valid UTF-8."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def repair_protobuf(body: bytes, message: type[Message]) -> tuple[bytes, list[Replaced]]:
    """Replace invalid UTF-8 in the texts of a protobuf message.

    Raises:
        Odd: The body is not such a message.
        TooLarge: Its invalid parts have more than `_MOST_FIELDS` fields.
    """
    repair = _Repair()
    return repair.message(body, cast("Descriptor", message.DESCRIPTOR), "", ""), repair.replaced


class _Repair:
    """Walks over the invalid parts of a message. Valid parts are copied."""

    def __init__(self) -> None:
        self.replaced: list[Replaced] = []
        self._walked = 0

    def message(self, body: bytes, descriptor: Descriptor, place: str, span: str) -> bytes:
        """Return a copy of a message in which all texts are valid UTF-8."""
        try:
            GetMessageClass(descriptor).FromString(body)
        except (DecodeError, RecursionError):
            pass
        else:
            return body
        parts: list[bytes] = []
        places: Counter[int] = Counter()
        if "span_id" in descriptor.fields_by_name:
            span = _span_of(body, descriptor) or span
        for number, wire, begin, start, end in walk_fields(body, 0, len(body)):
            self._walked += 1
            if self._walked > _MOST_FIELDS:
                raise TooLarge("The body has too many invalid parts: send smaller batches")
            field = descriptor.fields_by_number.get(number)
            if field is None or wire != LEN:
                parts.append(body[begin:end])
                continue
            here = f"{place}.{field.json_name}" if place else field.json_name
            if _is_repeated(field):
                here = f"{here}[{places[number]}]"
                places[number] += 1
            content = body[start:end]
            if field.message_type is not None:
                content = self.message(content, field.message_type, here, span)
            elif field.type == field.TYPE_STRING:
                content = self._text(content, here, span)
            parts.append(write_field(number, content))
        return b"".join(parts)

    def _text(self, content: bytes, place: str, span: str) -> bytes:
        text = content.decode("utf-8", "replace").encode()
        if text != content:
            self.replaced.append(Replaced(place, span))
        return text


def _span_of(body: bytes, descriptor: Descriptor) -> str:
    """Return the IDs of a span, a link or a log record in hex; empty if it has none."""
    numbers = [descriptor.fields_by_name[name].number for name in ("trace_id", "span_id")]
    ids = {
        number: body[start:end].hex()
        for number, wire, _, start, end in walk_fields(body, 0, len(body))
        if number in numbers and wire == LEN
    }
    return "-".join(ids[number] for number in numbers if number in ids)


def _is_repeated(field: FieldDescriptor) -> bool:
    # `is_repeated` was added in protobuf 6.31, and `label` was removed in 7.
    repeated = getattr(field, "is_repeated", None)
    return bool(getattr(field, _LABEL) == _REPEATED if repeated is None else repeated)


def repair_json(body: bytes) -> tuple[object, list[Replaced]]:
    """Parse a JSON body that contains invalid UTF-8.

    Raises:
        ValueError: The body is not JSON.
    """
    replaced: list[Replaced] = []
    return _clean(read_invalid_body(body), "", "", replaced), replaced


def _clean(value: object, place: str, span: str, replaced: list[Replaced]) -> object:
    if isinstance(value, str):
        text = value.encode("utf-8", _INVALID).decode("utf-8", "replace")
        if text != value:
            replaced.append(Replaced(place, span))
        return text
    if isinstance(value, list):
        return [_clean(item, f"{place}[{at}]", span, replaced) for at, item in enumerate(value)]
    if isinstance(value, dict):
        ids = [value.get(name) for name in ("traceId", "spanId")]
        span = "-".join(item for item in ids if isinstance(item, str)) or span
        dot = f"{place}." if place else ""
        return {
            str(_clean(name, place, span, replaced)): _clean(item, f"{dot}{name}", span, replaced)
            for name, item in value.items()
        }
    return value
