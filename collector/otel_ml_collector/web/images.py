"""Type and size of an image from its first bytes, to refuse images that would take too much memory.

A few hundred bytes can declare a gigabyte of pixels, which a browser would try to draw.
Spec: https://www.w3.org/TR/png-3/#11IHDR, ITU-T T.81 annex B, GIF89a section 18, RFC 9649
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

_SIDE: Final = 16_384
PIXELS: Final = 16_777_216  # 4,096 × 4,096 pixels take 64 MiB when drawn
_SEGMENTS: Final = 1_000
# JPEG markers without a length (`_ALONE`), and those whose segment has the image size (`_FRAMES`):
# all SOF markers, which leaves out DHT, JPG and DAC.
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_END: Final = frozenset({0xD9, 0xDA})
_FILL: Final = 0xFF
_PNG_HEAD: Final = 24  # bytes up to and including width and height

_Sides = tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Head:
    """The declared type and size of an image; 0 by 0 if it declares no size."""

    media_type: str
    width: int
    height: int

    @property
    def why(self) -> str:
        """Why the image should not be drawn, as the end of a sentence; empty if it may be drawn."""
        pixels = self.width * self.height
        if not pixels:
            return "its header declares no size"
        if max(self.width, self.height) > _SIDE or pixels > PIXELS:
            return f"it is too large ({self.width:,} × {self.height:,} pixels)"
        return ""


def read_head(content: bytes) -> Head | None:
    """Read the type and size of an image; None for an unknown type.

    Args:
        content: The first bytes. If they do not contain the size, it is 0 by 0.
    """
    for media_type, (starts, read) in _KINDS.items():
        if starts(content):
            width, height = read(content) or (0, 0)
            return Head(media_type, width, height)
    return None


def _png(content: bytes) -> _Sides:
    if content[12:16] != b"IHDR" or len(content) < _PNG_HEAD:
        return None
    return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])


def _jpeg(content: bytes) -> _Sides:
    """Read the size from the first frame segment, skipping the segments before it."""
    at = 2
    for _ in range(_SEGMENTS):
        if content[at : at + 1] != b"\xff" or at + 9 > len(content):
            return None
        marker = content[at + 1]
        if marker in _FRAMES:
            height, width = content[at + 5 : at + 7], content[at + 7 : at + 9]
            return int.from_bytes(width), int.from_bytes(height)
        if marker in _END:
            return None
        if marker == _FILL:
            at += 1
        else:
            at += 2 if marker in _ALONE else 2 + int.from_bytes(content[at + 2 : at + 4])
    return None


def _webp(content: bytes) -> _Sides:
    kind = content[12:16]
    if kind == b"VP8X":
        width, height = content[24:27], content[27:30]
        return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = content[26:28], content[28:30]
        return int.from_bytes(width, "little") & 0x3FFF, int.from_bytes(height, "little") & 0x3FFF
    return None


_KINDS: Final[Mapping[str, tuple[Callable[[bytes], bool], Callable[[bytes], _Sides]]]] = {
    "image/png": (lambda content: content.startswith(b"\x89PNG\r\n\x1a\n"), _png),
    "image/jpeg": (lambda content: content.startswith(b"\xff\xd8\xff"), _jpeg),
    "image/gif": (
        lambda content: content.startswith((b"GIF87a", b"GIF89a")),
        lambda content: (
            int.from_bytes(content[6:8], "little"),
            int.from_bytes(content[8:10], "little"),
        ),
    ),
    "image/webp": (lambda content: content[:4] + content[8:12] == b"RIFFWEBP", _webp),
}
MEDIA_TYPES: Final = frozenset(_KINDS)
