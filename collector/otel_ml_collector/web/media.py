"""Images and sounds among values: checked before a browser gets them."""

import base64
import binascii
import math
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from otel_ml_collector.store.reader import JsonValue
from otel_ml_collector.web.images import MEDIA_TYPES, read_head

IMAGE_CHARS: Final = 700_000
_AUDIO_CHARS: Final = 700_000
_DATA_IMAGE: Final = re.compile(r"data:(image/[a-z]+);base64,([A-Za-z0-9+/]+={0,2})")
_NO_IMAGE: Final = re.compile(r"data:(image/[A-Za-z0-9.+-]{1,80})[;,]")
_DATA_AUDIO: Final = re.compile(r"data:audio/([a-z0-9.+-]{1,40});base64,([A-Za-z0-9+/]+={0,2})")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")
# Sounds that browsers play, with the bytes with which they start at a position.
_SOUNDS: Final[Mapping[str, tuple[tuple[int, bytes], ...]]] = {
    "wav": ((0, b"RIFF"), (8, b"WAVE")),
    "ogg": ((0, b"OggS"),),
    "flac": ((0, b"fLaC"),),
    "mp4": ((4, b"ftyp"),),
    "webm": ((0, b"\x1a\x45\xdf\xa3"),),
}
_FORMATS: Final = {"x-wav": "wav", "wave": "wav", "mpeg": "mp3", "mpga": "mp3", "m4a": "mp4"}
_SAMPLE_PIXELS: Final = 4_096
_CHANNELS: Final = {"L": 1, "RGB": 3, "RGBA": 4}
_PNG_SIGN: Final = b"\x89PNG\r\n\x1a\n"
_PNG_COLOURS: Final = {"L": 0, "RGB": 2, "RGBA": 6}


@dataclass(frozen=True, slots=True)
class ShownPicture:
    """An image among values.

    Attributes:
        address: Data URL of the image; None if it is not drawn.
        why: Why it is not drawn.
        width, height: In pixels; 0 if it is not drawn. Of a thumbnail, those of the whole image.
        note: Further facts, such as the mode of an image.
        is_thumbnail: Whether only a small copy was sent.
    """

    address: str | None
    why: str = ""
    width: int = 0
    height: int = 0
    note: str = ""
    is_thumbnail: bool = False

    @property
    def about(self) -> str:
        """Its size in words."""
        size = f"{self.width:,} × {self.height:,}" if self.width else ""
        return ", ".join(filter(None, ("image", size, self.note)))


@dataclass(frozen=True, slots=True)
class ShownSound:
    """A sound whose bytes were sent.

    Attributes:
        address: Data URL of the sound; None if a browser cannot play it.
    """

    address: str | None
    kind: str
    size: int

    @property
    def about(self) -> str:
        """Its format in words."""
        return f"audio, {self.kind}"


def read_picture(text: str) -> ShownPicture | None:
    """Read a text that claims to be an image. Its bytes must match the declared type."""
    form = _NO_IMAGE.match(text)
    if form is None:
        return None
    if len(text) > IMAGE_CHARS:
        return ShownPicture(None, f"it is too large (over {IMAGE_CHARS:,} characters)")
    match = _DATA_IMAGE.fullmatch(text)
    if match is None or match[1] not in MEDIA_TYPES:
        return ShownPicture(None, f"this form of {form[1]} is not supported")
    try:
        content = base64.b64decode(match[2], validate=True)
    except (binascii.Error, ValueError):
        return ShownPicture(None, "its base64 encoding is invalid")
    head = read_head(content)
    if head is None or head.media_type != match[1]:
        return ShownPicture(None, f"it is declared as {match[1]}, but is something else")
    if head.why:
        return ShownPicture(None, head.why)
    return ShownPicture(text, width=head.width, height=head.height)


def find_picture(value: JsonValue) -> ShownPicture | None:
    """Read a text with an image, a message's part with one, or the description of an image.

    The description of an array of image shape has some of its pixels.
    """
    if isinstance(value, str):
        return read_picture(value)
    if not isinstance(value, Mapping):
        return None
    if value.get("type") == "image_url":
        link = value.get("image_url")
        link = link.get("url") if isinstance(link, Mapping) else link
        return read_picture(link) if isinstance(link, str) else None
    sample = value.get("sample")
    if isinstance(sample, Mapping) and "dtype" in value:
        address = _draw_sample(sample)
        note = f"{value['dtype']}"[:40]
        if address is None:
            return None
        return _thumbnail(address, _size_of_array(value.get("shape")), note)
    if value.get("type") != "PIL.Image" or not isinstance(value.get("thumbnail"), str):
        return None
    small = read_picture(value["thumbnail"])
    if small is None or small.address is None:
        return None
    return _thumbnail(small.address, value.get("size"), str(value.get("mode", ""))[:16])


def _thumbnail(address: str, size: Any, note: str) -> ShownPicture | None:
    sides = size if isinstance(size, list) else []
    if len(sides) != 2 or not all(isinstance(side, int) for side in sides):  # noqa: PLR2004
        return None
    return ShownPicture(address, width=sides[0], height=sides[1], note=note, is_thumbnail=True)


def _size_of_array(shape: Any) -> list[int] | None:
    """Return the width and height of an image in an array, or in a batch of one image."""
    if not isinstance(shape, list):
        return None
    while len(shape) > 3 and shape[0] == 1:  # noqa: PLR2004 - with channels
        shape = shape[1:]
    if len(shape) != 3:  # noqa: PLR2004
        return None
    return [shape[1], shape[0]] if shape[2] in _CHANNELS.values() else [shape[2], shape[1]]


def _draw_sample(sample: Mapping[str, Any]) -> str | None:
    """Write sampled pixels as a PNG, as a data URL; None if they are not valid."""
    mode, size, pixels = sample.get("mode"), sample.get("size"), sample.get("pixels")
    channels = _CHANNELS.get(mode) if isinstance(mode, str) else None
    if channels is None or not isinstance(pixels, str) or len(pixels) > 6 * _SAMPLE_PIXELS:
        return None
    if not isinstance(size, list) or len(size) != 2:  # noqa: PLR2004
        return None
    width, height = size
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 < height):
        return None
    try:
        content = base64.b64decode(pixels, validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(content) != math.prod((width, height, channels)):
        return None
    line = width * channels
    lines = b"".join(b"\0" + content[at : at + line] for at in range(0, len(content), line))
    header = struct.pack(">IIBBBBB", width, height, 8, _PNG_COLOURS[str(mode)], 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    chunks = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )
    return f"data:image/png;base64,{base64.b64encode(_PNG_SIGN + chunks).decode()}"


def find_sound(value: JsonValue) -> ShownSound | None:
    """Read a text with a sound, or a message's part with one. Its bytes must match its type."""
    kind, content = "", ""
    if isinstance(value, str):
        match = _DATA_AUDIO.fullmatch(value[: _AUDIO_CHARS + 100])
        if match is not None:
            kind, content = match[1], match[2]
    elif isinstance(value, Mapping):
        inner = value.get("input_audio") or value.get("audio")
        part = inner if isinstance(inner, Mapping) else {}
        if isinstance(part.get("data"), str) and _BASE64.fullmatch(part["data"]):
            kind, content = str(part.get("format") or "wav"), part["data"]
    if not content:
        return None
    kind = _FORMATS.get(kind, kind)[:20]
    size = len(content) * 3 // 4
    is_playable = len(content) <= _AUDIO_CHARS and _is_sound(kind, content[:64])
    return ShownSound(f"data:audio/{kind};base64,{content}" if is_playable else None, kind, size)


def _is_sound(kind: str, start: str) -> bool:
    try:
        head = base64.b64decode(start[: len(start) // 4 * 4])
    except (binascii.Error, ValueError):
        return False
    if kind == "mp3":
        return head.startswith(b"ID3") or (head[:1] == b"\xff" and head[1:2] >= b"\xe0")
    signs = _SOUNDS.get(kind, ())
    return bool(signs) and all(head[at : at + len(sign)] == sign for at, sign in signs)
