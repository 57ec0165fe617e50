"""Takes snapshots of images and figures, and describes these snapshots."""

import functools
import io
import math
import sys
from collections.abc import Sequence
from operator import mul
from typing import Any, Final

from otel_ml.capture.cells import HEAD
from otel_ml.capture.description import type_name_of
from otel_ml.capture.snapshot import Snapshot, Taker
from otel_ml.errors import untrusted

# Pixels of a thumbnail: of the few images that wait to be sent, and of all others in a burst. Most
# of the cost for the caller is memory, which the operating system has to provide in a burst.
_THUMBNAIL_PIXELS: Final = 96 * 72
_BURST_PIXELS: Final = 32 * 32
_DETAILED: Final[list[None]] = []  # one element for each waiting image of the larger size
_MOST_DETAILED: Final = 4
_THUMBNAIL_BYTES: Final = 16 * 1024  # longest thumbnail, as a data URL
_QUALITIES: Final = (85, 60, 30)
_MIDDLE: Final = (64, 8)  # pixels from the middle
_GREY_LEVELS: Final = range(256)
_SQUARES: Final = tuple(level * level for level in _GREY_LEVELS)
_PIXEL_BYTES: Final = 4  # Pillow uses so many, except in modes with a single byte
_MIDDLE_BYTES: Final = 4 * 64 * 8


class _DetailedRoom:
    """Counts an image with a large thumbnail until it is described or dropped."""

    __slots__ = ()

    def __init__(self) -> None:
        _DETAILED.append(None)

    def __del__(self) -> None:
        if _DETAILED:
            _DETAILED.pop()


def take_image(image: Any, taker: Taker, depth: int) -> object:
    """Copy a thumbnail, and 64 by 8 pixels from the middle.

    An image that was not loaded from its file yet is recorded without pixels, and is not loaded.
    """
    size, mode = image.size, image.mode
    owned = vars(image)  # accessing the pixels would read the file
    core = owned.get("_im", owned.get("im"))
    has_thumbnail = taker.pictures > 0
    taker.pictures -= 1
    room = _DetailedRoom() if has_thumbnail and len(_DETAILED) < _MOST_DETAILED else None
    most = _BURST_PIXELS if room is None else _THUMBNAIL_PIXELS
    weight = _PIXEL_BYTES * most + _MIDDLE_BYTES
    if core is None or 0 in size or not taker.has_room(weight):
        return Snapshot(type(image), _describe_image, (mode, size), 512)
    whole, inner, sides = _boxes(size, most)
    # These modes have no palette.
    if mode in {"L", "RGB", "RGBA"} and hasattr(core, "resize"):
        # `Image.resize` and `Image.crop` call these; direct calls take a third of the time
        pixels = (core.resize(sides, 0, whole), core.crop(inner))
    else:
        pixels = (image.resize(sides, 0), image.crop(inner))
    return Snapshot(type(image), _describe_image, (mode, size, pixels, has_thumbnail, room), weight)


@functools.lru_cache(maxsize=256)
def _boxes(
    size: tuple[int, int], most: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, int]]:
    """Return the boxes of an image and of its middle, and the size of its thumbnail."""
    width, height = size
    wide, high = min(width, _MIDDLE[0]), min(height, _MIDDLE[1])
    left, top = (width - wide) // 2, (height - high) // 2
    scale = min(math.sqrt(most / (width * height)), 1.0)
    sides = max(int(width * scale), 1), max(int(height * scale), 1)
    sides = min(sides[0], most), min(sides[1], most)
    return (0, 0, *size), (left, top, left + wide, top + high), sides


def _describe_image(
    mode: str,
    size: tuple[int, int],
    pixels: Sequence[Any] = (),
    has_thumbnail: bool = False,
    room: object = None,
) -> object:
    """Describe an image with brightness, contrast and sharpness.

    Brightness is the mean grey value (0 to 255), contrast its standard deviation. Sharpness is the
    mean squared difference of neighbouring pixels in the middle of the image.
    """
    described: dict[str, object] = {"type": "PIL.Image", "mode": mode, "size": [*size]}
    if not pixels:
        return described
    small, middle = (_as_image(mode, part) for part in pixels)
    grey, inner = small.convert("L"), middle.convert("L")
    counts = grey.histogram()
    mean = sum(map(mul, counts, _GREY_LEVELS)) / sum(counts)
    squares = sum(map(mul, counts, _SQUARES)) / sum(counts)
    steps = _count_steps(inner.tobytes())
    return {
        **described,
        "brightness": round(mean, 2),
        "contrast": round(math.sqrt(max(squares - mean * mean, 0.0)), 2),
        "sharpness": round(sum(map(mul, steps, _SQUARES)) / max(sum(steps), 1), 2),
        **(_write_thumbnail(small) if has_thumbnail else {}),
    }


def _as_image(mode: str, pixels: Any) -> Any:
    """Return a Pillow image with the pixels of a Pillow image, or of the pixel object inside it."""
    if hasattr(pixels, "tobytes"):
        return pixels
    image = sys.modules["PIL.Image"].new(mode, pixels.size)
    image.im.paste(pixels, (0, 0, *pixels.size))
    return image


def _write_thumbnail(small: Any) -> dict[str, object]:
    """Write a thumbnail as a data URL, under the key ``thumbnail``; nothing if Pillow cannot."""
    has_alpha = small.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in small.info
    for quality in _QUALITIES:
        content = io.BytesIO()
        with untrusted:  # Pillow may be built without a codec
            if has_alpha:
                small.convert("RGBA").save(content, "WEBP", quality=quality, method=0)
            else:
                plain = small if small.mode in {"L", "RGB"} else small.convert("RGB")
                plain.save(content, "JPEG", quality=quality)
            kind = "webp" if has_alpha else "jpeg"
            import base64  # on first use: importing otel_ml takes less time

            text = f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
            if len(text) <= _THUMBNAIL_BYTES:
                return {"thumbnail": text}
    return {}


def _count_steps(grey: bytes) -> Sequence[int]:
    """Count how often each absolute difference between neighbouring grey values occurs.

    Pillow does this in a tenth of the time that Python needs.
    """
    size = (len(grey) - 1, 1)
    if not size[0]:
        return ()
    pillow = sys.modules["PIL.Image"]
    first, second = (pillow.frombytes("L", size, part) for part in (grey[:-1], grey[1:]))
    counts: list[int] = first.im.chop_difference(second.im).histogram()
    return counts


def take_figure(figure: Any, taker: Taker, depth: int) -> object:
    """Take a snapshot of a Matplotlib figure: its size and number of axes."""
    width, height = figure.get_size_inches()
    parts = (type(figure), float(width), float(height), float(figure.dpi), len(figure.axes))
    return Snapshot(type(figure), _describe_figure, parts, 512)


def _describe_figure(kind: type, width: float, height: float, dpi: float, axes: int) -> object:
    size = [round(width * dpi), round(height * dpi)]
    return {"type": type_name_of(kind), "attributes": {"size": size, "axes": axes}}


def take_plot(figure: Any, taker: Taker, depth: int) -> object:
    """Record how many traces a figure has, and the types of the first ones."""
    traces = figure.data
    kinds = [str.__str__(trace.type) for trace in traces[:HEAD]]
    return Snapshot(type(figure), _describe_plot, (type(figure), len(traces), kinds), 512)


def _describe_plot(kind: type, traces: int, kinds: list[str]) -> object:
    return {"type": type_name_of(kind), "attributes": {"traces": traces, "kinds": kinds}}
