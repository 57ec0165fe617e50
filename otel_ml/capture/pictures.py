"""Takes snapshots of images and figures, and describes these snapshots."""

import functools
import math
import sys
from collections.abc import Sequence
from operator import mul
from typing import Any, Final

from otel_ml.capture.cells import HEAD
from otel_ml.capture.description import type_name_of
from otel_ml.capture.snapshot import Snapshot, Taker

_THUMBNAIL: Final = 64  # pixels per side
_SIDES: Final = (_THUMBNAIL, _THUMBNAIL)
_GREY_LEVELS: Final = range(256)
_SQUARES: Final = tuple(level * level for level in _GREY_LEVELS)
_DIRECT: Final = frozenset({"L", "RGB", "RGBA"})  # modes without a palette
_GREY_BYTES: Final = 2 * _THUMBNAIL * _THUMBNAIL
_PIXELS_BYTES: Final = 4 * _GREY_BYTES  # enough for any mode


def take_image(image: Any, taker: Taker, depth: int) -> object:
    """Copy a thumbnail of 64 by 64 grey pixels, and as many original pixels from the middle.

    An image that was not loaded from its file yet is recorded without pixels, and is not loaded.
    """
    size, mode = image.size, image.mode
    owned = vars(image)  # accessing the pixels would read the file
    core = owned.get("_im", owned.get("im"))
    if core is None or 0 in size or not taker.has_room(_PIXELS_BYTES):
        return Snapshot(type(image), _describe_image, (mode, size), 512)
    whole, inner = _boxes(size)
    if mode in _DIRECT and hasattr(core, "resize"):
        # `Image.resize` and `Image.crop` call these; direct calls take a third of the time
        pixels = (core.resize(_SIDES, 0, whole), core.crop(inner))
        if mode != "L":  # a quarter of the memory; allocating it takes longer than converting
            pixels = (pixels[0].convert("L", 0), pixels[1].convert("L", 0))
        weight = _GREY_BYTES
    else:
        pixels = (image.resize(_SIDES, 0), image.crop(inner))
        weight = _PIXELS_BYTES
    return Snapshot(type(image), _describe_image, (mode, size, *pixels), weight)


@functools.lru_cache(maxsize=256)
def _boxes(size: tuple[int, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the box of a whole image of this size, and that of its middle."""
    width, height = size
    left, top = max((width - _THUMBNAIL) // 2, 0), max((height - _THUMBNAIL) // 2, 0)
    inner = (left, top, left + min(width, _THUMBNAIL), top + min(height, _THUMBNAIL))
    return (0, 0, *size), inner


def _describe_image(mode: str, size: tuple[int, int], *pixels: Any) -> object:
    """Describe an image with brightness, contrast and sharpness.

    Brightness is the mean grey value (0 to 255), contrast its standard deviation. Sharpness is the
    mean squared difference of neighbouring pixels in the middle of the image.
    """
    described: dict[str, object] = {"type": "PIL.Image", "mode": mode, "size": [*size]}
    if not pixels:
        return described
    grey, inner = map(_convert_to_grey, pixels)
    counts = grey.histogram()
    mean = sum(map(mul, counts, _GREY_LEVELS)) / sum(counts)
    squares = sum(map(mul, counts, _SQUARES)) / sum(counts)
    steps = _count_steps(inner.tobytes())
    return {
        **described,
        "brightness": round(mean, 2),
        "contrast": round(math.sqrt(max(squares - mean * mean, 0.0)), 2),
        "sharpness": round(sum(map(mul, steps, _SQUARES)) / max(sum(steps), 1), 2),
    }


def _convert_to_grey(pixels: Any) -> Any:
    """Convert a Pillow image, or the pixel object inside it, to an image of grey values."""
    if hasattr(pixels, "tobytes"):
        return pixels.convert("L")
    image = sys.modules["PIL.Image"].new("L", pixels.size)
    image.im.paste(pixels, (0, 0, *pixels.size))
    return image


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
